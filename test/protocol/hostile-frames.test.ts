// Random sequences of frames, valid, changed and out of order, against one peer. Method: whatever comes, the connection
// ends with a typed
// error or goes on working; nothing throws, hangs, or is left behind.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ERRORS, isErrorCode, VarveError } from '../../protocol/errors.ts'
import { encodeFrame, FRAME, type Frame } from '../../protocol/frames.ts'
import { METHODS, type MethodName } from '../../protocol/methods.ts'
import type { Handlers } from '../../protocol/peer.ts'
import { retainedBytes } from './memory.ts'
import { arrived, codeOf, lonePeer } from './peer-pair.ts'
import { plainValue } from './plain-values.ts'

const UUID = '0192aaaa-0000-4000-8000-0000c0ffee42'
const MIB = 1024 * 1024
const never = (): Promise<never> => new Promise(() => {})

/** One method of each temper: it answers, fails, hangs, listens, talks. */
const handlers: Handlers = {
  'machines.list': async () => ({ machines: [], next: null }),
  'tenants.list': async () => {
    throw new Error('broken')
  },
  'agents.list': never,
  'image.upload': async (_, call) => {
    for await (const message of call.messages) await call.send([3, message[0]])
    return { root: null }
  },
  'machines.events': async (_, call) => {
    for (let timeMs = 0; ; timeMs++) await call.send({ event: 'X', timeMs, data: 'x'.repeat(5000) })
  },
}

const name = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...(Object.keys(handlers) as MethodName[])) },
  { weight: 2, arbitrary: fc.constantFrom(...(Object.keys(METHODS) as MethodName[])) },
  { weight: 1, arbitrary: fc.string({ maxLength: 20 }) },
)
const params = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ job: UUID, disk: 'vda', machine: 'db1' }) },
  { weight: 1, arbitrary: plainValue },
)
const messageOf = (bytesMax: number): fc.Arbitrary<unknown> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom<unknown>([0, [[0, 1]]], [2, [[new Uint8Array(32), new Uint8Array(32)]]]) },
    { weight: 1, arbitrary: plainValue },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: bytesMax }).map((length) => new Uint8Array(length)) },
  )
const id = fc.integer({ min: 1, max: 14 })

/** Frames that a peer could send, though not in any order that makes sense. */
const frameOf = (bytesMax: number): fc.Arbitrary<Frame> =>
  fc.oneof(
    { weight: 6, arbitrary: fc.tuple(fc.constant(FRAME.request), id, name, params, fc.constantFrom(0, 1, 5000)) },
    {
      weight: 2,
      arbitrary: fc.tuple(
        fc.constant(FRAME.result),
        id,
        fc.oneof(fc.constant({ machines: [], next: null }), plainValue),
      ),
    },
    {
      weight: 2,
      arbitrary: fc.tuple(
        fc.constant(FRAME.error),
        fc.oneof({ weight: 20, arbitrary: id }, { weight: 1, arbitrary: fc.constant(0) }),
        fc.constantFrom('NOT_FOUND', 'QMP_ERROR'),
        fc.constant('no'),
        fc.constant({}),
      ),
    },
    { weight: 4, arbitrary: fc.tuple(fc.constant(FRAME.data), id, messageOf(bytesMax)) },
    { weight: 4, arbitrary: fc.tuple(fc.constant(FRAME.credit), id, fc.constantFrom(1, 6000, 2 ** 20, 2 ** 40)) },
    { weight: 2, arbitrary: fc.tuple(fc.constant(FRAME.end), id) },
    { weight: 2, arbitrary: fc.tuple(fc.constant(FRAME.cancel), id) },
    { weight: 1, arbitrary: fc.tuple(fc.constant(FRAME.ping), fc.nat()) },
    { weight: 1, arbitrary: fc.tuple(fc.constant(FRAME.pong), fc.nat()) },
  )

interface Step {
  readonly bytes?: Uint8Array
  readonly frame?: Frame
  readonly call?: MethodName
  readonly advanceMs?: number
  readonly wait?: true
}

const changed = fc.tuple(frameOf(500), fc.nat(), fc.nat(255)).map(([value, at, byte]) => {
  const bytes = Uint8Array.from(encodeFrame(value))
  bytes[at % bytes.length] = byte
  return { bytes }
})
const cut = fc.tuple(frameOf(500), fc.nat()).map(([value, length]) => {
  const bytes = encodeFrame(value)
  return { bytes: bytes.slice(0, length % bytes.length) }
})

const step = (badWeight: number, bytesMax = 5 * MIB): fc.Arbitrary<Step> =>
  fc.oneof(
    { weight: 30, arbitrary: fc.record({ frame: frameOf(bytesMax) }) },
    { weight: badWeight, arbitrary: fc.oneof(changed, cut, fc.record({ bytes: fc.uint8Array({ maxLength: 60 }) })) },
    {
      weight: 5,
      arbitrary: fc.record({ call: fc.constantFrom<MethodName>('machines.list', 'image.upload', 'machines.events') }),
    },
    { weight: 2, arbitrary: fc.record({ advanceMs: fc.constantFrom(1, 5000, 20_000) }) },
    { weight: 5, arbitrary: fc.constant({ wait: true } as const) },
  )

/** Plays the steps and says how the peer ended, or `alive`. */
const play = async (steps: readonly Step[]): Promise<string> => {
  const { peer, clock, wire, feed } = lonePeer(handlers)
  const ends: Promise<string>[] = []
  for (const { frame, bytes, call, advanceMs, wait } of steps) {
    if (frame !== undefined) feed(...frame)
    if (bytes !== undefined) peer.receive(bytes)
    if (advanceMs !== undefined) clock.advance(advanceMs)
    if (wait === true) await arrived()
    if (call !== undefined && wire.closedWith === null) {
      const open = peer.open(call, { job: UUID, disk: 'vda', machine: 'db1' }, { deadlineMs: 9000 })
      ends.push(codeOf(open.result), codeOf(open.messages[Symbol.asyncIterator]().next()))
      if (call === 'image.upload')
        ends.push(codeOf((open as unknown as { send(one: unknown): Promise<void> }).send([0, [[0, 1]]])))
    }
  }
  await arrived()
  const end = wire.closedWith
  if (end === null) {
    // alive, so it must still work
    feed(FRAME.ping, 4711)
    expect(wire.sent.at(-1)).toEqual([FRAME.pong, 4711])
    feed(FRAME.request, 1001, 'machines.list', {}, 0)
    await arrived()
    expect(wire.ofType(FRAME.result).at(-1)).toEqual([FRAME.result, 1001, { machines: [], next: null }])
    peer.transportClosed(new VarveError('CONNECTION_LOST', 'over'))
  } else expect(isErrorCode(end.code)).toBe(true)
  // no call hangs, no timer stays
  for (const code of await Promise.all(ends)) expect(code === 'none' || isErrorCode(code)).toBe(true)
  // whatever ended the connection, no call takes it for its own failure
  expect((await peer.closed).endsConnection).toBe(true)
  expect(clock.waiting).toBe(0)
  if (end === null) return 'alive'
  // noise can make an error frame of the peer's with a code that nobody knows
  return end.code === 'PEER_FAILED' && 'code' in end.details ? 'unknown code told' : end.code
}

/** What a hostile peer can be told; none of them is a fault of ours. */
const TYPED = new Set([
  'alive',
  'FRAME_INVALID',
  'FRAME_TYPE_UNKNOWN',
  'FRAME_UNEXPECTED',
  'CREDIT_EXCEEDED',
  'ID_REUSED',
  'HEARTBEAT_TIMEOUT',
  // what the test's own error frames for id 0 say
  'NOT_FOUND',
  'QMP_ERROR',
  'unknown code told',
])

describe('random sequences', () => {
  test.each([
    ['mostly frames', 1],
    ['much noise', 20],
  ])('of %s end in a typed error or leave a peer that works', async (_, badWeight) => {
    const seen = new Map<string, number>()
    await fc.assert(
      fc.asyncProperty(fc.array(step(badWeight), { maxLength: 50, size: 'max' }), async (steps) => {
        const end = await play(steps)
        seen.set(end, (seen.get(end) ?? 0) + 1)
        expect(TYPED, end).toContain(end)
      }),
      { numRuns: 500 },
    )
    // the sequences must reach more than the first check
    expect(seen.size).toBeGreaterThan(3)
  })

  test('leave no memory behind', async () => {
    // the encoder keeps the buffer that its largest frame needed, which is no leak
    const sample = fc.sample(fc.array(step(2, 1000), { maxLength: 40, size: 'max' }), { numRuns: 60, seed: 5 })
    const round = async (): Promise<void> => {
      for (const steps of sample) await play(steps)
      await arrived()
    }
    for (let count = 0; count < 2; count++) await round()
    const before = retainedBytes()
    for (let count = 0; count < 3; count++) await round()
    expect(retainedBytes() - before).toBeLessThan(MIB)
  })
})

describe('errors of one call', () => {
  const mistake = fc.oneof(
    fc.tuple(fc.string({ maxLength: 30 }), plainValue),
    fc.tuple(fc.constantFrom(...(Object.keys(METHODS) as MethodName[])), plainValue),
    fc.tuple(fc.constant('tenants.list'), fc.constant({})),
    fc.tuple(fc.constant('image.upload'), fc.constant({ job: UUID, disk: 'vda' })),
  )

  test('of whatever number never end the connection', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(mistake, { maxLength: 30 }), async (mistakes) => {
        const { wire, feed } = lonePeer(handlers)
        for (const [index, [method, params]] of mistakes.entries()) {
          feed(FRAME.request, 2 * index + 1, method, params, 0)
          // within its credit, but no message of the method
          if (method === 'image.upload') feed(FRAME.data, 2 * index + 1, ['no such kind'])
        }
        await arrived()
        feed(FRAME.request, 1001, 'machines.list', {}, 0)
        await arrived()
        expect(wire.closedWith).toBeNull()
        expect(wire.ofType(FRAME.result).at(-1)).toEqual([FRAME.result, 1001, { machines: [], next: null }])
        for (const [, id, code] of wire.ofType(FRAME.error)) {
          expect(id).not.toBe(0)
          expect(ERRORS[code as keyof typeof ERRORS].scope, code).toBe('request')
        }
      }),
      { numRuns: 60 },
    )
  })
})
