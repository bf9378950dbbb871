// What waits in a socket that nobody reads: counted, and cut off where it is too much.
import { expect, test } from 'vitest'
import { FRAMES_UNSENT_FREE, FRAME_UNSENT_BYTES_MIN } from '../../../gateway/memory/limits.ts'
import { SocketTransport } from '../../../gateway/session/transport.ts'
import type { VarveError } from '../../../protocol/errors.ts'

/** A socket that takes what it is given and sends nothing until told. */
const stuck = () => {
  const sent: (() => void)[] = []
  const closed: VarveError[] = []
  const transport = new SocketTransport({
    open: true,
    send: (_bytes, done) => void sent.push(done),
    pong: (_data, done) => void sent.push(done),
    close: (error) => void closed.push(error),
  })
  return { transport, sent, closed }
}

const small = (): Uint8Array => new Uint8Array(5)

test('small frames beyond the first take room of the caller, and end the connection where there is none', () => {
  const { transport, sent, closed } = stuck()
  let used = 0
  const room = {
    take: (bytes: number) => {
      if (used + bytes > 10 * small().length) return null
      used += bytes
      return () => void (used -= bytes)
    },
  }
  transport.useRoom(room)
  for (let count = 0; count < FRAMES_UNSENT_FREE + 10; count++) transport.send(small())
  expect([closed.length, used, transport.bufferedBytes]).toEqual([
    0,
    10 * small().length,
    FRAME_UNSENT_BYTES_MIN * sent.length,
  ])
  transport.send(small())
  expect(closed).toMatchObject([{ code: 'CONNECTION_LOST' }])
  for (const done of sent) done()
  expect([used, transport.bufferedBytes]).toEqual([0, 0])
})

test('what somebody else accounts for is told when it is sent, also where the socket is closed', () => {
  const { transport, sent, closed } = stuck()
  let told = 0
  for (let count = 0; count < 2 * FRAMES_UNSENT_FREE; count++) transport.send(small(), () => told++)
  expect([told, closed.length]).toEqual([0, 0])
  for (const done of sent) done()
  expect(told).toBe(2 * FRAMES_UNSENT_FREE)
  const over = new SocketTransport({ open: false, send: () => {}, pong: () => {}, close: () => {} })
  over.send(small(), () => told++)
  expect(told).toBe(2 * FRAMES_UNSENT_FREE + 1)
})

test('pings of the WebSocket are answered only while little waits', () => {
  const { transport, sent } = stuck()
  for (let count = 0; count < 1000; count++) transport.pong(small())
  expect(sent).toHaveLength(FRAMES_UNSENT_FREE)
  sent.shift()!()
  transport.pong(small())
  expect(sent).toHaveLength(FRAMES_UNSENT_FREE)
})
