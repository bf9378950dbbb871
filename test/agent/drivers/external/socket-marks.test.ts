// Whether a socket is the one that a lease began with.
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { expect, test } from 'vitest'
import { changedSocket, markSockets } from '../../../../agent/drivers/external/socket-marks.ts'
import { tempFolder } from '../../../support/temp.ts'

const listen = async (path: string): Promise<Server> => {
  const server = createServer().listen(path)
  await once(server, 'listening')
  return server
}

const end = async (server: Server): Promise<void> => {
  server.close()
  await once(server, 'close')
}

test('a socket that is gone, or made anew at its path, is another one', async () => {
  await using folder = await tempFolder()
  const path = folder.join('access.sock')
  const first = await listen(path)
  const marks = await markSockets([path, path])
  expect(await changedSocket(marks)).toBeNull()
  await end(first)
  expect(await changedSocket(marks)).toBe(path)
  const second = await listen(path)
  expect(await changedSocket(marks)).toBe(path)
  await end(second)
})
