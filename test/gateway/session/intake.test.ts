// Lengths of messages as they come in, however the bytes are cut.
import { expect, test } from 'vitest'
import { Intake } from '../../../gateway/session/intake.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { headerOf, OPCODE } from '../../attack/raw-socket.ts'

/** What was announced, and `whole` for each end. */
const watch = (max = Number.MAX_SAFE_INTEGER) => {
  const seen: (number | 'whole')[] = []
  const intake = new Intake({
    announced: (bytes) => {
      seen.push(bytes)
      return bytes <= max ? null : new VarveError('FRAME_TOO_LARGE', 'too large')
    },
    whole: () => seen.push('whole'),
  })
  return { intake, seen }
}

const frame = (opcode: number, bytes: number, final = true): Buffer =>
  Buffer.concat([headerOf(opcode, bytes, final), Buffer.alloc(bytes, 0xff)])

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
