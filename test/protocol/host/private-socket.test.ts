// A private socket is its user's alone from the beginning, takes a stale one's place, and goes with its server.
import { connect } from 'node:net'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { servePrivately } from '../../../protocol/host/private-socket.ts'
import { tempFolder } from '../../support/temp.ts'

test('it is for its user alone, a stale one is replaced, and its end ends its connections', async () => {
  await using folder = await tempFolder()
  const path = folder.join('s.sock')
  await writeFile(path, 'stale')
  const where = { folder: folder.path, name: 's.sock', connectionsMax: 4 }
  const server = await servePrivately(where, (socket) => void socket.write('hello'))
  expect(statSync(path).mode & 0o777).toBe(0o600)
  const client = connect(path)
  const [said] = (await once(client, 'data')) as [Buffer]
  expect(said.toString()).toBe('hello')
  const closed = once(client, 'close')
  await server[Symbol.asyncDispose]()
  await closed
  expect(existsSync(path)).toBe(false)
})
