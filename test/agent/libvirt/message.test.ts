// Messages. Goal: however the bytes arrive, the messages are the same, and no length makes the agent wait or allocate without
// end. Method: generated messages cut at generated places, and lengths that cannot be.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { encodeMessage, MESSAGE_BYTES_MAX, MessageSplitter, type Message } from '../../../agent/libvirt/message.ts'

const number = fc.integer({ min: 0, max: 2 ** 32 - 1 })

const message: fc.Arbitrary<Message> = fc.record({
  header: fc.record({
    program: number,
    version: number,
    procedure: fc.integer(),
    type: number,
    serial: number,
    status: number,
  }),
  payload: fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
})

const split = (chunks: readonly Buffer[]): Message[] => {
  const splitter = new MessageSplitter()
  return chunks.flatMap((chunk) => [...splitter.push(chunk)])
}

test('messages come out as they went in, however they are cut', () => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 5 }), fc.array(fc.nat({ max: 80 })), (messages, cuts) => {
      const bytes = Buffer.concat(messages.map(encodeMessage))
      const chunks: Buffer[] = []
      let at = 0
      for (const cut of cuts) {
        chunks.push(bytes.subarray(at, at + cut))
        at += cut
      }
      chunks.push(bytes.subarray(at))
      expect(split(chunks)).toEqual(messages)
    }),
  )
})

test('a message byte by byte', () => {
  const one: Message = {
    header: { program: 1, version: 2, procedure: -3, type: 4, serial: 5, status: 6 },
    payload: Buffer.from('ab'),
  }
  expect(split([...encodeMessage(one)].map((byte) => Buffer.from([byte])))).toEqual([one])
})

test.each([0, 27, MESSAGE_BYTES_MAX + 1, 2 ** 32 - 1])(
  'a message of %d bytes is refused at its first four',
  (length) => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(length)
    expect(() => split([bytes])).toThrow(expect.objectContaining({ code: 'LIBVIRT_PROTOCOL' }))
  },
)

test('what comes before a message that cannot be is still given', () => {
  const one: Message = {
    header: { program: 1, version: 1, procedure: 1, type: 1, serial: 1, status: 0 },
    payload: Buffer.alloc(0),
  }
  const messages = new MessageSplitter().push(Buffer.concat([encodeMessage(one), Buffer.alloc(4)]))
  expect(messages.next().value).toEqual(one)
  expect(() => messages.next()).toThrow(expect.objectContaining({ code: 'LIBVIRT_PROTOCOL' }))
})

test('the longest message is taken, a longer one is not sent', () => {
  const header = { program: 1, version: 1, procedure: 1, type: 0, serial: 1, status: 0 }
  const longest = encodeMessage({ header, payload: Buffer.alloc(MESSAGE_BYTES_MAX - 28) })
  expect(split([longest])[0]?.payload.length).toBe(MESSAGE_BYTES_MAX - 28)
  expect(() => encodeMessage({ header, payload: Buffer.alloc(MESSAGE_BYTES_MAX - 27) })).toThrow(
    expect.objectContaining({ code: 'PARAMS_INVALID' }),
  )
})
