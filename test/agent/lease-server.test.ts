// Leases that commands give: what is hostile on that socket. Method: a real socket.
import { once } from 'node:events'
import { createConnection } from 'node:net'
import { expect, test } from 'vitest'
import { Offers } from '../../agent/drivers/external/offers.ts'
import { serveLeases } from '../../agent/external/lease-server.ts'
import { LEASES_SOCKET, LINE_BYTES_MAX } from '../../agent/external/lease-wire.ts'
import { tempFolder } from '../support/temp.ts'

test('a description that is too long is refused and dropped, and the connection ends', async () => {
  await using folder = await tempFolder()
  const options = { state: folder.path, gateway: 'ws://g', offers: new Offers(), announce: async () => {} }
  await using _server = await serveLeases(options)
  const socket = createConnection(folder.join(LEASES_SOCKET))
  let answer = ''
  socket.on('data', (part) => (answer += String(part))).on('error', () => {})
  socket.write(Buffer.alloc(4 * LINE_BYTES_MAX, 0x20))
  await once(socket, 'close')
  expect(answer).toContain('the description of a lease is too long')
})
