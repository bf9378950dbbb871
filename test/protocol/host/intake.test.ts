// Lengths of messages as they come in, however the bytes are cut.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { GATHERED_BYTES_MIN, Intake } from '../../../protocol/host/intake.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { headerOf, OPCODE } from '../../attack/raw-socket.ts'

/** What was announced, and `whole` for each end. */
const watch = (max = Number.MAX_SAFE_INTEGER, open = true) => {
  const seen: (number | 'whole')[] = []
  const messages: Buffer[] = []
  const passed: Buffer[] = []
  const intake = new Intake(
    { masked: true, trusted: false },
    {
      announced: (bytes) => {
        seen.push(bytes)
        return bytes <= max ? null : new VarveError('FRAME_TOO_LARGE', 'too large')
      },
      whole: () => seen.push('whole'),
      gathered: (message) => messages.push(message),
      rest: (bytes) => passed.push(Buffer.from(bytes)),
      open,
    },
  )
  return { intake, seen, messages, passed }
}

const frame = (opcode: number, bytes: number, final = true): Buffer<ArrayBuffer> =>
  Buffer.concat([headerOf(opcode, bytes, final), Buffer.alloc(bytes, 0xff)])

/** The same of random bytes, sent with a mask. */
const masked = (payload: Uint8Array, mask: readonly number[]): Buffer<ArrayBuffer> => {
  const header = headerOf(OPCODE.binary, payload.length, true)
  header.set(mask, header.length - 4)
  return Buffer.concat([header, payload.map((byte, at) => byte ^ mask[at % 4]!)])
}

const { ping: PING, binary: BINARY, continuation: CONTINUED } = OPCODE

test('messages of every kind of length are announced, in fragments with their sum, and pings between them are none', () => {
  const stream = Buffer.concat([
    frame(BINARY, 5),
    frame(BINARY, 125),
    frame(PING, 125),
    frame(BINARY, 126),
    frame(BINARY, 65_535),
    frame(BINARY, 65_536),
    frame(BINARY, 0),
    frame(BINARY, 300, false),
    frame(PING, 3),
    frame(CONTINUED, 200, false),
    frame(CONTINUED, 0),
    frame(BINARY, 7),
  ])
  const expected = [5, 'whole', 125, 'whole', 126, 'whole', 65_535, 'whole', 65_536, 'whole', 0, 'whole']
  const rest = [300, 500, 500, 'whole', 7, 'whole']
  for (const cut of [stream.length, 1000, 333]) {
    const { intake, seen } = watch()
    for (let at = 0; at < stream.length; at += cut) expect(intake.feed(stream.subarray(at, at + cut))).toBeNull()
    expect(seen).toEqual([...expected, ...rest])
  }
})

test('a header is understood byte by byte, before anything of its message came', () => {
  const { intake, seen } = watch(1000)
  const bytes = frame(BINARY, 70_000)
  for (let at = 0; at < 13; at++) expect(intake.feed(bytes.subarray(at, at + 1))).toBeNull()
  expect(seen).toEqual([])
  expect(intake.feed(bytes.subarray(13, 14))).toMatchObject({ code: 'FRAME_TOO_LARGE' })
})

test('a message that comes in very many small pieces is refused, as parts of a frame and as fragments', () => {
  const parts = watch().intake
  const large = frame(BINARY, 65_536)
  let error: VarveError | null = null
  for (let at = 0; at < large.length && error === null; at += 100) error = parts.feed(large.subarray(at, at + 100))
  expect(error).toMatchObject({ code: 'FRAME_INVALID' })
  const usual = watch().intake
  for (let at = 0; at < large.length; at += 536) expect(usual.feed(large.subarray(at, at + 536))).toBeNull()
  const fragments = watch().intake
  expect(fragments.feed(frame(BINARY, 1, false))).toBeNull()
  const many = Buffer.concat(Array.from({ length: 100 }, () => frame(CONTINUED, 0, false)))
  expect(fragments.feed(many)).toMatchObject({ code: 'FRAME_INVALID' })
})

test('pings may come between messages, and not for ever', () => {
  const { intake } = watch()
  const pings = Buffer.concat(Array.from({ length: 60 }, () => frame(PING, 1)))
  expect(intake.feed(pings)).toBeNull()
  expect(intake.feed(frame(BINARY, 1))).toBeNull()
  expect(intake.feed(pings)).toBeNull()
  expect(intake.feed(pings)).toMatchObject({ code: 'FRAME_INVALID' })
})

test('large messages are gathered in one buffer each, without their masks, and the library gets all else', () => {
  const large = [GATHERED_BYTES_MIN, GATHERED_BYTES_MIN + 3, 300_001].map((length) => randomBytes(length))
  const [first, second, third] = large as [Buffer, Buffer, Buffer]
  const small = frame(BINARY, GATHERED_BYTES_MIN - 1)
  const fragments = [frame(BINARY, 70_000, false), frame(PING, 3), frame(CONTINUED, 70_000)]
  const others = [frame(BINARY, 5), small, ...fragments, frame(PING, 0)]
  const stream = Buffer.concat([
    others[0]!,
    masked(first, [0, 0, 0, 0]),
    masked(second, [1, 2, 3, 4]),
    ...others.slice(1, -1),
    masked(third, [0, 0, 0, 255]),
    others.at(-1)!,
  ])
  for (const cut of [stream.length, 64 * 1024, 1009, 257]) {
    const { intake, messages, passed } = watch()
    for (let at = 0; at < stream.length; at += cut) expect(intake.feed(stream.subarray(at, at + cut))).toBeNull()
    expect(messages.map((message) => Buffer.compare(message, large[messages.indexOf(message)]!))).toEqual([0, 0, 0])
    expect(messages.every(({ byteLength, buffer }) => byteLength === buffer.byteLength)).toBe(true)
    expect(Buffer.compare(Buffer.concat(passed), Buffer.concat(others))).toBe(0)
  }
})

test('a message comes after all that was sent before it, though its header came in two pieces', () => {
  const order: string[] = []
  const intake = new Intake(
    { masked: true, trusted: false },
    {
      announced: () => null,
      whole: () => {},
      gathered: ({ length }) => order.push(`message of ${length}`),
      rest: ({ length }) => order.push(`${length} bytes`),
      open: true,
    },
  )
  const stream = Buffer.concat([frame(BINARY, 10), frame(BINARY, GATHERED_BYTES_MIN), frame(BINARY, 10)])
  const small = 16
  intake.feed(stream.subarray(0, small + 5))
  expect(order).toEqual(['16 bytes'])
  // the end of one message and half of the header of the next
  intake.feed(stream.subarray(small + 5, stream.length - 13))
  intake.feed(stream.subarray(stream.length - 13))
  expect(order).toEqual(['16 bytes', `message of ${GATHERED_BYTES_MIN}`, '3 bytes', '13 bytes'])
})

test('the buffers that held nothing but a large message are freed at once, and no others', () => {
  const stream = Buffer.concat([frame(BINARY, 1), frame(BINARY, 300_000), frame(BINARY, 1)])
  const { intake } = watch()
  const pieces: Buffer<ArrayBuffer>[] = []
  for (let at = 0; at < stream.length; at += 64 * 1024) {
    const piece = Buffer.from(Uint8Array.from(stream.subarray(at, at + 64 * 1024)).buffer)
    pieces.push(piece)
    expect(intake.feed(piece)).toBeNull()
  }
  expect(pieces.map(({ buffer }) => buffer.byteLength > 0)).toEqual([true, false, false, false, true])
})

test('the library gets a large message that came without a mask, in the middle of another, or after the end', () => {
  const bytes = GATHERED_BYTES_MIN
  const bare = Buffer.concat([Buffer.from([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]), Buffer.alloc(bytes)])
  const within = Buffer.concat([frame(BINARY, 0, false), frame(BINARY, bytes)])
  const ended = watch(Number.MAX_SAFE_INTEGER, false)
  for (const [{ intake, messages, passed }, sent] of [
    [watch(), bare],
    [watch(), within],
    [ended, frame(BINARY, bytes)],
  ] as const) {
    expect(intake.feed(sent)).toBeNull()
    expect(messages).toEqual([])
    expect(Buffer.concat(passed)).toHaveLength(sent.length)
  }
})

test('nothing counts that comes after a closing frame', () => {
  const close = frame(8, 2)
  const stream = Buffer.concat([frame(BINARY, 5), close, frame(BINARY, GATHERED_BYTES_MIN), frame(BINARY, 7)])
  for (const cut of [stream.length, 1009, 3]) {
    const { intake, seen, messages, passed } = watch()
    for (let at = 0; at < stream.length; at += cut) expect(intake.feed(stream.subarray(at, at + cut))).toBeNull()
    expect(seen).toEqual([5, 'whole'])
    expect(messages).toEqual([])
    expect(Buffer.compare(Buffer.concat(passed), stream.subarray(0, 11 + close.length))).toBe(0)
  }
})

test('of the other side, whose frames have no mask, large messages are gathered too; one that is trusted may send in pieces', () => {
  const bare = (payload: Uint8Array): Buffer => {
    const masked = headerOf(OPCODE.binary, payload.length, true)
    const header = masked.subarray(0, masked.length - 4)
    header[1]! &= 0x7f
    return Buffer.concat([header, payload])
  }
  const large = [GATHERED_BYTES_MIN, 200_001].map((length) => randomBytes(length))
  const small = bare(randomBytes(9))
  const stream = Buffer.concat([bare(large[0]!), small, bare(large[1]!), small])
  for (const cut of [stream.length, 64 * 1024, 100]) {
    const messages: Buffer[] = []
    const passed: Buffer[] = []
    const intake = new Intake(
      { masked: false, trusted: true },
      {
        announced: () => null,
        whole: () => {},
        gathered: (message) => messages.push(message),
        rest: (bytes) => passed.push(Buffer.from(bytes)),
        open: true,
      },
    )
    for (let at = 0; at < stream.length; at += cut) expect(intake.feed(stream.subarray(at, at + cut))).toBeNull()
    expect(messages.map((message, index) => message.equals(large[index]!))).toEqual([true, true])
    expect(Buffer.concat(passed).equals(Buffer.concat([small, small]))).toBe(true)
  }
})
