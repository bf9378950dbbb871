// What every command needs before its work: a configuration, an identity and a gateway that answers.
import { mkdir, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { withGateway } from '../../../agent/commands/context.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { codeOf } from '../restore/code-of.ts'
import { tempFolder } from '../../support/temp.ts'
import { startStand } from './stand.ts'

test('opens a session as this agent, and closes it', async () => {
  await using stand = await startStand()
  const machines = await withGateway(stand.config[1], async ({ config, link, signal }) => {
    expect(config.machines.map(({ name }) => name)).toEqual(['db1'])
    expect(signal.aborted).toBe(false)
    return await link.call('machines.list', {})
  })
  expect(machines).toEqual({ machines: [], next: null })
})

test('goes on after the connection broke', async () => {
  await using stand = await startStand()
  const { agents } = await withGateway(stand.config[1], async ({ link }) => {
    const first = await link.peer()
    const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
    first.transportClosed(new VarveError('CONNECTION_LOST', 'cut'))
    expect((await link.call('machines.list', {})).machines).toEqual([])
    expect(await link.peer()).not.toBe(first)
    return await owner.call('agents.list', {})
  })
  expect(agents).toHaveLength(1)
})

test('fails at once without what it needs', async () => {
  await using temp = await tempFolder()
  const never = async (): Promise<never> => Promise.reject(new Error('it must not come to this'))
  expect(await codeOf(withGateway(temp.join('none.toml'), never))).toBe('CONFIG_INVALID')
  await mkdir(temp.join('state'))
  await writeFile(temp.join('agent.toml'), `gateway = "ws://127.0.0.1:1"\nstate = "${temp.join('state')}"\n`)
  expect(await codeOf(withGateway(temp.join('agent.toml'), never))).toBe('NOT_ENROLLED')
})
