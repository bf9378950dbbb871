// Calls as the side that serves them sees them: refusals, deadlines, cancelling, what a handler may do wrong.
import { describe, expect, test } from 'vitest'
import { VarveError } from '../../protocol/errors.ts'
import { FRAME } from '../../protocol/frames.ts'
import { CALLS_OPEN_MAX, FRAME_BYTES_MAX, FRAME_ITEMS_MAX } from '../../protocol/limits.ts'
import type { Handlers } from '../../protocol/peer.ts'
import { arrived, codeOf, lonePeer, peerPair } from './peer-pair.ts'

const UUID = '0192aaaa-0000-4000-8000-0000c0ffee42'
const LIST: Handlers = { 'machines.list': async () => ({ machines: [], next: null }) }
const never = (): Promise<never> => new Promise(() => {})

describe('requests', () => {
  test('for a method that is not served, or does not exist, are METHOD_UNKNOWN', async () => {
    const { wire, feed } = lonePeer(LIST)
    feed(FRAME.request, 1, 'points.list', { machine: null, limit: 1 }, 0)
    feed(FRAME.request, 3, 'no.such', {}, 0)
    feed(FRAME.request, 5, 'toString', {}, 0)
    feed(FRAME.request, 7, '__proto__', {}, 0)
    feed(FRAME.request, 9, 'machines.list', {}, 0)
    await arrived()
    expect(wire.ofType(FRAME.error).map(([, id, code]) => [id, code])).toEqual(
      [1, 3, 5, 7].map((id) => [id, 'METHOD_UNKNOWN']),
    )
    expect(wire.ofType(FRAME.result)).toEqual([[FRAME.result, 9, { machines: [], next: null }]])
  })

  test('with bad parameters are PARAMS_INVALID, name the parameter, and never reach the handler', async () => {
    let calls = 0
    const { wire, feed } = lonePeer({
      'backup.start': async () => {
        calls++
        return { job: UUID }
      },
    })
    const bad = [null, [], 'db1', {}, { machine: 'db1' }, { machine: '../x', full: true }, { machine: 7, full: true }]
    for (const [index, params] of bad.entries()) feed(FRAME.request, 2 * index + 1, 'backup.start', params, 0)
    feed(FRAME.request, 99, 'backup.start', { machine: 'db1', full: 'yes' }, 0)
    await arrived()
    const errors = wire.ofType(FRAME.error)
    expect(errors.map(([, , code]) => code)).toEqual(Array.from({ length: 8 }, () => 'PARAMS_INVALID'))
    expect(errors.at(-1)?.[3]).toMatch(/^backup\.start: full: /u)
    expect(calls).toBe(0)
    expect(wire.closedWith).toBeNull()
  })

  test('reach the handler without the fields it does not know, and with those that have a default', async () => {
    let seen: unknown = null
    const { feed } = lonePeer({
      'backup.start': async (params) => {
        seen = params
        return { job: UUID }
      },
    })
    feed(FRAME.request, 1, 'backup.start', { machine: 'db1', full: true, later: [1] }, 0)
    await arrived()
    expect(seen).toEqual({ machine: 'db1', full: true, compare: false })
  })

  test('past CALLS_OPEN_MAX are TOO_MANY_REQUESTS, also when the others were only cancelled', async () => {
    const release: (() => void)[] = []
    const { wire, feed } = lonePeer({
      'machines.list': () => new Promise((resolve) => release.push(() => resolve({ machines: [], next: null }))),
    })
    for (let call = 0; call < CALLS_OPEN_MAX; call++) feed(FRAME.request, 2 * call + 1, 'machines.list', {}, 0)
    for (let call = 0; call < CALLS_OPEN_MAX; call++) feed(FRAME.cancel, 2 * call + 1)
    // cancelled, but their handlers have not let go
    feed(FRAME.request, 1001, 'machines.list', {}, 0)
    expect(wire.ofType(FRAME.error).at(-1)?.slice(1, 3)).toEqual([1001, 'TOO_MANY_REQUESTS'])
    release[0]!()
    await arrived()
    feed(FRAME.request, 1003, 'machines.list', {}, 0)
    release.at(-1)!()
    await arrived()
    expect(wire.ofType(FRAME.result)).toEqual([[FRAME.result, 1003, { machines: [], next: null }]])
    expect(release).toHaveLength(CALLS_OPEN_MAX + 1)
  })

  test.each([
    ['the same id again', [1, 1]],
    ['a lower id', [5, 3]],
  ])('with %s are ID_REUSED', (_, ids) => {
    const { wire, feed } = lonePeer(LIST)
    for (const id of ids) feed(FRAME.request, id, 'machines.list', {}, 0)
    expect(wire.closedWith?.code).toBe('ID_REUSED')
    expect(wire.ofType(FRAME.error).at(-1)?.slice(0, 3)).toEqual([FRAME.error, 0, 'ID_REUSED'])
  })

  test('with an id that a refused call had are ID_REUSED too', () => {
    const { wire, feed } = lonePeer(LIST)
    feed(FRAME.request, 1, 'no.such', {}, 0)
    feed(FRAME.request, 1, 'machines.list', {}, 0)
    expect(wire.closedWith?.code).toBe('ID_REUSED')
  })

  test.each([
    ['opener', true, 1],
    ['other side', false, 2],
  ])('to the %s with an id of its own are FRAME_UNEXPECTED', (_, opener, id) => {
    const { wire, feed } = lonePeer(LIST, opener)
    feed(FRAME.request, id, 'machines.list', {}, 0)
    expect(wire.closedWith?.code).toBe('FRAME_UNEXPECTED')
  })
})

describe('handlers', () => {
  test('that throw what is no VarveError answer INTERNAL with its sentence', async () => {
    const { wire, feed } = lonePeer({
      'machines.list': async () => {
        throw new TypeError('x is undefined')
      },
      'tenants.list': () => {
        throw new VarveError('ROLE_FORBIDDEN', 'no')
      },
    })
    feed(FRAME.request, 1, 'machines.list', {}, 0)
    feed(FRAME.request, 3, 'tenants.list', {}, 0)
    await arrived()
    expect(
      wire
        .ofType(FRAME.error)
        .map(([, id, code]) => `${id} ${code}`)
        .toSorted(),
    ).toEqual(['1 INTERNAL', '3 ROLE_FORBIDDEN'])
  })

  test('whose result fits into no frame fail their own call and not the connection', async () => {
    const { opener, fromOther } = peerPair({
      other: {
        'points.get': async () => ({ point: new Uint8Array(FRAME_BYTES_MAX) }) as never,
        'points.list': async () => ({ points: Array.from({ length: FRAME_ITEMS_MAX }, () => 0) }) as never,
        'agents.list': async () => ({ agents: Symbol('no') }) as never,
        ...LIST,
      },
    })
    expect(await codeOf(opener.call('points.get', { point: '0192' }))).toBe('RESULT_INVALID')
    expect(await codeOf(opener.call('points.list', { machine: null, limit: 1 }))).toBe('RESULT_INVALID')
    expect(await codeOf(opener.call('agents.list', {}))).toBe('RESULT_INVALID')
    expect(await opener.call('machines.list', {})).toEqual({ machines: [], next: null })
    expect(fromOther.closedWith).toBeNull()
  })

  test('that keep sending after their answer are told so', async () => {
    let late: Promise<void> | null = null
    const { opener } = peerPair({
      other: {
        'machines.events': async (_, call) => {
          late = new Promise<void>((resolve) => setImmediate(resolve)).then(() =>
            call.send({ event: 'X', timeMs: 1, data: '{}' }),
          )
          return {}
        },
      },
    })
    await opener.call('machines.events', { machine: 'db1' })
    expect(await codeOf(late!)).toBe('CANCELLED')
  })
})

describe('deadline and cancel', () => {
  test('a handler that takes too long is aborted and its call answered DEADLINE_EXCEEDED', async () => {
    let reason: unknown = null
    const { clock, wire, feed } = lonePeer({
      'machines.list': (_, { signal }) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => {
            reason = signal.reason
            reject(new Error('stopped'))
          }),
        ),
    })
    const before = clock.waiting
    feed(FRAME.request, 1, 'machines.list', {}, 5000)
    clock.advance(4999)
    expect(wire.ofType(FRAME.error)).toEqual([])
    clock.advance(1)
    await arrived()
    expect(wire.ofType(FRAME.error).map(([, id, code]) => [id, code])).toEqual([[1, 'DEADLINE_EXCEEDED']])
    expect(reason).toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    expect(clock.waiting).toBe(before)
  })

  test('the timer of a deadline ends with the answer, also while a cancelled handler goes on', async () => {
    const { clock, feed } = lonePeer({ ...LIST, 'agents.list': never })
    const before = clock.waiting
    feed(FRAME.request, 1, 'machines.list', {}, 5000)
    feed(FRAME.request, 3, 'agents.list', {}, 5000)
    expect(clock.waiting).toBe(before + 2)
    feed(FRAME.cancel, 3)
    await arrived()
    expect(clock.waiting).toBe(before)
  })

  test('a cancelled call is answered once, CANCELLED, whatever its handler still does', async () => {
    const { promise, resolve } = Promise.withResolvers<{ machines: []; next: null }>()
    const { wire, feed } = lonePeer({ 'machines.list': () => promise })
    feed(FRAME.request, 1, 'machines.list', {}, 0)
    feed(FRAME.cancel, 1)
    feed(FRAME.cancel, 1)
    resolve({ machines: [], next: null })
    await arrived()
    expect(wire.sent.map((frame) => frame.slice(0, 3))).toEqual([[FRAME.error, 1, 'CANCELLED']])
  })

  test('a cancel wakes a handler that waits for messages or for credit', async () => {
    const codes: Promise<string>[] = []
    const { wire, feed } = lonePeer({
      'image.upload': (_, call) => {
        codes.push(codeOf(call.messages[Symbol.asyncIterator]().next()), codeOf(call.send([3, 1])))
        return never()
      },
    })
    feed(FRAME.request, 1, 'image.upload', { job: UUID, disk: 'vda' }, 0)
    feed(FRAME.cancel, 1)
    expect(await Promise.all(codes)).toEqual(['CANCELLED', 'CANCELLED'])
    expect(wire.ofType(FRAME.data)).toEqual([])
  })

  test('a cancel of a call never made is FRAME_UNEXPECTED', () => {
    for (const id of [1, 2]) {
      const { wire, feed } = lonePeer(LIST)
      feed(FRAME.cancel, id)
      expect(wire.closedWith?.code).toBe('FRAME_UNEXPECTED')
    }
  })
})
