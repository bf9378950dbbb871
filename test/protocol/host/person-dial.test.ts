// Sessions of a person: each with the token that the file has then, or the one before where it has none.
import { rm, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { PersonDial } from '../../../protocol/host/person-dial.ts'
import { codeOf } from '../../gateway/auth/test-authority.ts'
import { startGateway } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'

test('a token that is put into the file is the next session’s; without one it is the one before', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const tokenFile = temp.join('token')
  const person = new PersonDial({ gateway: gateway.url, tokenFile, ca: undefined }, 'test')
  const roleOf = async (): Promise<string> => {
    const { peer, welcome } = await person.dial()
    peer.close(new VarveError('CANCELLED', 'enough'))
    return welcome.role
  }
  expect(await codeOf(person.dial())).toBe('PARAMS_INVALID')
  await writeFile(tokenFile, await gateway.tokenFor('viewer'), { mode: 0o600 })
  expect(await roleOf()).toBe('viewer')
  await writeFile(tokenFile, await gateway.tokenFor('operator'))
  expect(await roleOf()).toBe('operator')
  await rm(tokenFile)
  expect(await roleOf()).toBe('operator')
  expect(person.rereads).toBe(true)
  expect(new PersonDial({ gateway: gateway.url, tokenFile: '-', ca: undefined }, 'test').rereads).toBe(false)
})
