// Calls as their caller sees them: results, errors, deadlines, cancelling, limits. Method: two peers in memory and a clock
// moved by hand.
import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { FRAME } from '../../protocol/frames.ts'
import { CALLS_OPEN_MAX, DEADLINE_DEFAULT_MS, DEADLINE_MAX_MS, FRAME_BYTES_MAX } from '../../protocol/limits.ts'
import type { Job } from '../../protocol/methods.ts'
import type { Handlers } from '../../protocol/peer.ts'
import { arrived, codeOf, lonePeer, peerPair } from './peer-pair.ts'

const UUID = '0192aaaa-0000-4000-8000-0000c0ffee42'
const never = (): Promise<never> => new Promise(() => {})

const jobWith = (bytesSent: number): Job => ({
  id: UUID,
  machine: 'db1',
  agent: UUID,
  online: true,
  state: 'running',
  phase: 'reading',
  limit: null,
  resumes: 0,
  resumedMs: null,
  subject: 'ada',
  startedMs: 1,
  endedMs: null,
  released: false,
  bytesSent,
  comparedBytes: 0,
  disks: [],
  error: null,
})

describe('a call', () => {
  test('gets its result, in both directions', async () => {
    const { opener, other } = peerPair({
      opener: { 'agent.qmp': async ({ command }) => ({ value: `"${command} of the agent"` }) },
      other: { 'machines.list': async () => ({ machines: [], next: null }) },
    })
    expect(await opener.call('machines.list', {})).toEqual({ machines: [], next: null })
    expect(await other.call('agent.qmp', { machine: 'db1', command: 'stop', arguments: '{}' })).toEqual({
      value: '"stop of the agent"',
    })
  })

  test('many at once get each its own, whatever the order they are answered in', async () => {
    const waiting = new Map<number, () => void>()
    const { opener } = peerPair({
      other: {
        'backup.commit': ({ bytesRead }) =>
          new Promise((resolve) =>
            waiting.set(bytesRead, () => resolve({ point: UUID.replace('42', String(bytesRead)) })),
          ),
      },
    })
    const calls = [10, 11, 12, 13].map((bytesRead) => opener.call('backup.commit', { job: UUID, bytesRead }))
    await arrived()
    for (const answer of [12, 10, 13, 11]) waiting.get(answer)!()
    expect((await Promise.all(calls)).map(({ point }) => point.slice(-2))).toEqual(['10', '11', '12', '13'])
  })

  test('its ids rise by two, odd from the opener and even from the other', async () => {
    const handlers: Handlers = { 'machines.list': async () => ({ machines: [], next: null }) }
    const { opener, other, fromOpener, fromOther } = peerPair({ opener: handlers, other: handlers })
    for (let count = 0; count < 3; count++) {
      await opener.call('machines.list', {})
      await other.call('machines.list', {})
    }
    expect(fromOpener.ofType(FRAME.request).map(([, id]) => id)).toEqual([1, 3, 5])
    expect(fromOther.ofType(FRAME.request).map(([, id]) => id)).toEqual([2, 4, 6])
  })

  test('gets an error with its code, sentence and details, and no more', async () => {
    const { opener } = peerPair({
      other: {
        'backup.start': async () => {
          const cause = new Error('with a path of the server')
          throw new VarveError('JOB_RUNNING', 'one is running', { details: { job: UUID }, cause })
        },
      },
    })
    const error = await opener.call('backup.start', { machine: 'db1', full: false }).catch(asVarveError)
    expect(error).toMatchObject({ code: 'JOB_RUNNING', message: 'one is running', details: { job: UUID } })
    expect((error as VarveError).cause).toBeUndefined()
  })

  test('whose result does not fit the method is RESULT_INVALID, and the connection lives', async () => {
    const { peer, feed } = lonePeer({}, true)
    const first = peer.call('machines.list', {})
    feed(FRAME.result, 1, { machines: [{ name: 'db1' }] })
    expect(await codeOf(first)).toBe('RESULT_INVALID')
    const second = peer.call('machines.list', {})
    feed(FRAME.result, 3, { machines: [], next: null, later: true })
    expect(await second).toEqual({ machines: [], next: null })
  })

  test('whose parameters fit into no frame is PARAMS_INVALID and leaves nothing behind', async () => {
    const { peer, clock, wire, feed } = lonePeer({}, true)
    const before = clock.waiting
    const token = 'x'.repeat(FRAME_BYTES_MAX)
    expect(await codeOf(peer.call('session.renew', { token }))).toBe('PARAMS_INVALID')
    expect(await codeOf(peer.call('session.renew', { token: 'x' }, { deadlineMs: DEADLINE_MAX_MS + 1 }))).toBe(
      'PARAMS_INVALID',
    )
    expect(await codeOf(peer.call('session.renew', { token: 'x' }, { deadlineMs: 0.5 }))).toBe('PARAMS_INVALID')
    expect(clock.waiting).toBe(before)
    expect(wire.sent).toEqual([])
    const good = peer.call('session.renew', { token: 'x' })
    feed(FRAME.result, 1, { expiresMs: 5 })
    expect(await good).toEqual({ expiresMs: 5 })
  })

  test('one more than CALLS_OPEN_MAX is TOO_MANY_REQUESTS, until one has ended', async () => {
    const { peer, feed } = lonePeer({}, true)
    const open = Array.from({ length: CALLS_OPEN_MAX }, () => peer.call('machines.list', {}))
    expect(await codeOf(peer.call('machines.list', {}))).toBe('TOO_MANY_REQUESTS')
    feed(FRAME.result, 1, { machines: [], next: null })
    await open[0]
    const next = peer.call('machines.list', {})
    feed(FRAME.result, 2 * CALLS_OPEN_MAX + 1, { machines: [], next: null })
    expect(await next).toEqual({ machines: [], next: null })
  })
})

describe('deadline', () => {
  test('the caller gives up after it, and tells the other side', async () => {
    const { peer, clock, wire, feed } = lonePeer({}, true)
    const before = clock.waiting
    const call = peer.call('machines.list', {}, { deadlineMs: 1000 })
    clock.advance(999)
    expect(wire.ofType(FRAME.cancel)).toEqual([])
    clock.advance(1)
    expect(await codeOf(call)).toBe('DEADLINE_EXCEEDED')
    expect(wire.ofType(FRAME.cancel)).toEqual([[FRAME.cancel, 1]])
    // what crossed the end is ignored
    feed(FRAME.result, 1, { machines: [], next: null })
    feed(FRAME.error, 1, 'CANCELLED', '', {})
    feed(FRAME.data, 1, null)
    expect(wire.closedWith).toBeNull()
    expect(clock.waiting).toBe(before)
  })

  test('is sent along, DEADLINE_DEFAULT_MS for a call and none for a stream', () => {
    const { peer, wire } = lonePeer({}, true)
    peer.call('machines.list', {}).catch(() => {})
    peer.open('machines.events', { machine: 'db1' })
    expect(wire.ofType(FRAME.request).map((frame) => frame[4])).toEqual([DEADLINE_DEFAULT_MS, 0])
  })

  test('its timer ends with the call', async () => {
    const { peer, clock, feed } = lonePeer({}, true)
    const before = clock.waiting
    const call = peer.call('machines.list', {})
    expect(clock.waiting).toBe(before + 1)
    feed(FRAME.result, 1, { machines: [], next: null })
    await call
    expect(clock.waiting).toBe(before)
  })
})

describe('cancelling', () => {
  test('by a signal ends the call here and there', async () => {
    let aborted: unknown = null
    const { opener } = peerPair({
      other: {
        'machines.status': (_, { signal }) => {
          signal.addEventListener('abort', () => (aborted = signal.reason))
          return never()
        },
      },
    })
    const controller = new AbortController()
    const call = opener.call('machines.status', { machine: 'db1' }, { signal: controller.signal })
    await arrived()
    controller.abort()
    expect(await codeOf(call)).toBe('CANCELLED')
    await arrived()
    expect(aborted).toMatchObject({ code: 'CANCELLED' })
  })

  test('before the call is made', async () => {
    const { peer, wire } = lonePeer({}, true)
    expect(await codeOf(peer.call('machines.list', {}, { signal: AbortSignal.abort() }))).toBe('CANCELLED')
    expect(wire.sent.map(([type]) => type)).toEqual([FRAME.request, FRAME.cancel])
  })

  test('after the call has ended does nothing', async () => {
    const { peer, wire, feed } = lonePeer({}, true)
    const controller = new AbortController()
    const call = peer.open('machines.list', {}, { signal: controller.signal })
    feed(FRAME.result, 1, { machines: [], next: null })
    await call.result
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    controller.abort()
    call.cancel()
    expect(wire.ofType(FRAME.cancel)).toEqual([])
  })

  test('ends a stream for its reader and its sender', async () => {
    const { peer } = lonePeer({}, true)
    const call = peer.open('image.upload', { job: UUID, disk: 'vda' })
    const reading = call.messages[Symbol.asyncIterator]().next()
    const sending = call.send([0, [[0, 1]]])
    call.cancel()
    for (const one of [reading, sending, call.result]) expect(await codeOf(one)).toBe('CANCELLED')
  })
})

describe('streams', () => {
  test('messages come in order and before the result', async () => {
    const { opener } = peerPair({
      other: {
        'jobs.watch': async (_, call) => {
          for (let bytesSent = 0; bytesSent < 50; bytesSent++) await call.send(jobWith(bytesSent))
          return jobWith(50)
        },
      },
    })
    const call = opener.open('jobs.watch', { job: UUID })
    const seen: number[] = []
    for await (const { bytesSent } of call.messages) seen.push(bytesSent)
    expect(seen).toEqual(Array.from({ length: 50 }, (_, index) => index))
    expect((await call.result).bytesSent).toBe(50)
  })

  test('a slow reader slows the sender to its window', async () => {
    let sent = 0
    const message = { event: 'X', timeMs: 1, data: 'x'.repeat(10_000) }
    const { opener, fromOther } = peerPair({
      other: {
        'machines.events': async (_, call) => {
          for (; sent < 1000; sent++) await call.send(message)
          return {}
        },
      },
    })
    const call = opener.open('machines.events', { machine: 'db1' })
    await arrived()
    const firstWindow = sent
    expect(firstWindow).toBeGreaterThan(50)
    expect(firstWindow).toBeLessThan(110)
    await arrived()
    expect(sent).toBe(firstWindow)
    let taken = 0
    for await (const one of call.messages) {
      expect(one.data).toHaveLength(10_000)
      taken++
    }
    expect(taken).toBe(1000)
    expect(fromOther.ofType(FRAME.data)).toHaveLength(1000)
  })

  test('up and down at once', async () => {
    const { opener } = peerPair({
      other: {
        'image.upload': async (_, call) => {
          let position = 0
          for await (const message of call.messages) {
            if (message[0] !== 0) continue
            position += message[1].length
            await call.send([3, position])
          }
          return { root: null }
        },
      },
    })
    const call = opener.open('image.upload', { job: UUID, disk: 'vda' })
    const reading = (async () => {
      const positions: number[] = []
      for await (const message of call.messages) if (message[0] === 3) positions.push(message[1])
      return positions
    })()
    for (let count = 0; count < 5; count++)
      await call.send([
        0,
        [
          [0, 1],
          [1, 1],
        ],
      ])
    call.end()
    expect(await call.result).toEqual({ root: null })
    expect(await reading).toEqual([2, 4, 6, 8, 10])
  })

  test('a sender that waits for credit is told when the call has its result', async () => {
    const { peer, feed } = lonePeer({}, true)
    const call = peer.open('image.upload', { job: UUID, disk: 'vda' })
    const waiting = call.send([0, [[0, 1]]])
    feed(FRAME.result, 1, { root: null })
    expect(await call.result).toEqual({ root: null })
    expect(await codeOf(waiting)).toBe('STREAM_INVALID')
  })
})

describe('answers that no call waits for', () => {
  test.each([
    ['a call never made', 3],
    ['the other side of ids', 2],
  ])('to %s is FRAME_UNEXPECTED', (_, id) => {
    for (const answer of [
      [FRAME.result, id, {}],
      [FRAME.error, id, 'NOT_FOUND', '', {}],
    ] as const) {
      const { peer, wire, feed } = lonePeer({}, true)
      peer.call('machines.list', {}).catch(() => {})
      feed(...answer)
      expect(wire.closedWith?.code).toBe('FRAME_UNEXPECTED')
    }
  })

  test('a second answer to the same call is ignored', async () => {
    const { peer, wire, feed } = lonePeer({}, true)
    const call = peer.call('machines.list', {})
    feed(FRAME.result, 1, { machines: [], next: null })
    feed(FRAME.result, 1, { machines: 'other' })
    expect(await call).toEqual({ machines: [], next: null })
    expect(wire.closedWith).toBeNull()
  })
})
