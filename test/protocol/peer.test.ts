// A connection as a whole: frames that may not come, heartbeat, ends from either side, slow peers.
import { describe, expect, test } from 'vitest'
import { ERRORS, VarveError, type ErrorCode } from '../../protocol/errors.ts'
import { encodeFrame, FRAME, type Frame } from '../../protocol/frames.ts'
import {
  CHUNK_WINDOW_BYTES,
  HEARTBEAT_INTERVAL_MS,
  HEARTBEAT_TIMEOUT_MS,
  OUTBOUND_BYTES_MAX,
  STREAM_WINDOW_BYTES,
} from '../../protocol/limits.ts'
import { Peer, type Handlers } from '../../protocol/peer.ts'
import { HandClock } from '../support/hand-clock.ts'
import { arrived, codeOf, codeThrown, lonePeer, peerPair, Wire } from './peer-pair.ts'

const UUID = '0192aaaa-0000-4000-8000-0000c0ffee42'
const UPLOAD = { job: UUID, disk: 'vda' }
const never = (): Promise<never> => new Promise(() => {})

/** Reads to the end. */
const reading: NonNullable<Handlers['image.upload']> = async (_, call) => {
  for await (const _message of call.messages);
  return { root: null }
}

describe('frames that may not come', () => {
  const hello: Frame = [
    FRAME.hello,
    { versionMin: 1, versionMax: 1, features: [], program: 'x', serving: false, token: null },
  ]
  const cases: readonly (readonly [string, Frame, string])[] = [
    ['hello', hello, 'FRAME_UNEXPECTED'],
    ['data of a call never made', [FRAME.data, 9, null], 'FRAME_UNEXPECTED'],
    ['data of a call of ours never made', [FRAME.data, 2, null], 'FRAME_UNEXPECTED'],
    ['credit of a call never made', [FRAME.credit, 9, 1], 'FRAME_UNEXPECTED'],
    ['end of a call never made', [FRAME.end, 9], 'FRAME_UNEXPECTED'],
  ]

  test.each(cases)('%s', async (_, frame, code) => {
    const { peer, wire, feed } = lonePeer({})
    feed(...frame)
    expect(wire.closedWith?.code).toBe(code)
    expect(wire.sent).toEqual([[FRAME.error, 0, code, wire.closedWith?.message, {}]])
    expect((await peer.closed).code).toBe(code)
  })

  test('bytes that are no frame end the connection, and what follows is not looked at', async () => {
    let calls = 0
    const { peer, wire, feed } = lonePeer({
      'machines.list': async () => {
        calls++
        return { machines: [], next: null }
      },
    })
    peer.receive(Uint8Array.of(0xc1))
    feed(FRAME.request, 1, 'machines.list', {}, 0)
    await arrived()
    expect(wire.closedWith?.code).toBe('FRAME_INVALID')
    expect([calls, wire.sent.length]).toEqual([0, 1])
  })

  test('a message without credit is CREDIT_EXCEEDED', () => {
    const { wire, feed } = lonePeer({ 'image.upload': reading })
    feed(FRAME.request, 1, 'image.upload', UPLOAD, 0)
    const message = new Uint8Array(CHUNK_WINDOW_BYTES / 4 + 1)
    for (let count = 0; count < 3; count++) feed(FRAME.data, 1, message)
    expect(wire.closedWith).toBeNull()
    feed(FRAME.data, 1, message)
    expect(wire.closedWith?.code).toBe('CREDIT_EXCEEDED')
  })

  test('a message is CREDIT_EXCEEDED as well while the method does not read yet', () => {
    const { wire, feed } = lonePeer({ 'image.upload': never })
    feed(FRAME.request, 1, 'image.upload', UPLOAD, 0)
    feed(FRAME.data, 1, null)
    expect(wire.closedWith?.code).toBe('CREDIT_EXCEEDED')
  })

  test('a message on a stream that its method does not have is CREDIT_EXCEEDED', () => {
    const { wire, feed } = lonePeer({ 'machines.events': never })
    feed(FRAME.request, 1, 'machines.events', { machine: 'db1' }, 0)
    feed(FRAME.data, 1, null)
    expect(wire.closedWith?.code).toBe('CREDIT_EXCEEDED')
  })

  test('a second end, and a message after the end, are FRAME_UNEXPECTED', () => {
    for (const after of [
      [FRAME.end, 1],
      [FRAME.data, 1, null],
    ] as const) {
      const { wire, feed } = lonePeer({ 'image.upload': never })
      feed(FRAME.request, 1, 'image.upload', UPLOAD, 0)
      feed(FRAME.end, 1)
      feed(...after)
      expect(wire.closedWith?.code).toBe('FRAME_UNEXPECTED')
    }
  })

  test('frames that crossed the end of their call are ignored', async () => {
    const { wire, feed } = lonePeer({ 'image.upload': async () => ({ root: null }) })
    feed(FRAME.request, 1, 'image.upload', UPLOAD, 0)
    await arrived()
    for (const frame of [
      [FRAME.data, 1, null],
      [FRAME.credit, 1, 5],
      [FRAME.end, 1],
      [FRAME.end, 1],
      [FRAME.cancel, 1],
    ] as const)
      feed(...frame)
    expect(wire.closedWith).toBeNull()
  })
})

describe('credit', () => {
  test('a caller grants its method’s window as it calls, and who is called as it begins to read', async () => {
    const start = Promise.withResolvers<void>()
    const { opener, fromOpener, fromOther } = peerPair({
      other: {
        'image.upload': async (params, call) => {
          await start.promise
          return reading(params, call)
        },
      },
    })
    opener.open('image.upload', UPLOAD)
    await arrived()
    expect(fromOpener.ofType(FRAME.credit)).toEqual([[FRAME.credit, 1, STREAM_WINDOW_BYTES]])
    expect(fromOther.ofType(FRAME.credit)).toEqual([])
    start.resolve()
    await arrived()
    expect(fromOther.ofType(FRAME.credit)).toEqual([[FRAME.credit, 1, CHUNK_WINDOW_BYTES]])
  })

  test('a method that gives the credit itself has each message with its cost, and none by itself', async () => {
    const costs: number[] = []
    const { opener, other, fromOther } = peerPair({
      other: {
        'image.upload': async (_, call) => {
          call.grant(600)
          for await (const { bytes } of call.received) costs.push(bytes)
          return { root: null }
        },
      },
    })
    const call = opener.open('image.upload', UPLOAD)
    const sending = [1, 2, 3].map(() => call.send([0, [[0, 1]]]))
    await arrived()
    expect(costs).toEqual([256, 256])
    expect(fromOther.ofType(FRAME.credit)).toEqual([[FRAME.credit, 1, 600]])
    // what is left, and the window of what comes down
    expect([other.grantedBytes, opener.grantedBytes]).toEqual([600 - 512, STREAM_WINDOW_BYTES])
    call.cancel()
    await Promise.allSettled(sending)
  })
})

describe('a room for what the peer has this side hold', () => {
  const room = (limitBytes: number) => {
    let used = 0
    return {
      used: () => used,
      take: (bytes: number) => {
        if (used + bytes > limitBytes) return null
        used += bytes
        return () => void (used -= bytes)
      },
    }
  }
  const refusals = (wire: Wire) => wire.ofType(FRAME.error).map(([, id, code]) => [id, code])
  const peerIn = (limitBytes: number, handlers: Handlers) => {
    const given = room(limitBytes)
    const wire = new Wire()
    const peer = new Peer({ opener: false, transport: wire, handlers, clock: new HandClock(1), room: given })
    return { peer, wire, given, feed: (...frame: Frame) => peer.receive(encodeFrame(frame)) }
  }

  test('has requests for as long as they are served; without it they are TOO_MANY_REQUESTS', async () => {
    const answer = Promise.withResolvers<{ machines: never[]; next: null }>()
    const { wire, given, feed } = peerIn(10_000, { 'machines.list': () => answer.promise })
    for (const id of [1, 3, 5]) feed(FRAME.request, id, 'machines.list', {}, 0)
    expect(refusals(wire)).toEqual([[5, 'TOO_MANY_REQUESTS']])
    expect(given.used()).toBe(8192)
    answer.resolve({ machines: [], next: null })
    await arrived()
    expect(wire.ofType(FRAME.result)).toHaveLength(2)
    // a socket that says nothing of what it sent still holds it
    expect(given.used()).toBeLessThan(100)
    expect(given.used()).toBeGreaterThan(0)
  })

  test('has answers until they are sent; without it a call ends with an error', async () => {
    const text = 'x'.repeat(20_000)
    const { wire, feed } = peerIn(20_000, { 'machines.qmp': async () => ({ answer: text }) as never })
    feed(FRAME.request, 1, 'machines.qmp', { machine: 'db1', command: 'query-status', arguments: '{}' }, 0)
    await arrived()
    expect(refusals(wire)).toEqual([[1, 'TOO_MANY_REQUESTS']])
    expect(wire.closedWith).toBeNull()
  })

  test('has what a method sends until the socket took it, and what it calls itself', async () => {
    const { peer, wire, feed } = peerIn(4096 + 200, {
      'machines.events': async (_, call) => {
        await call.send({ event: 'STOP', timeMs: 1, data: '{}' })
        return {}
      },
    })
    feed(FRAME.request, 1, 'machines.events', { machine: 'db1' }, 0)
    await arrived()
    expect(refusals(wire)).toEqual([[1, 'TOO_MANY_REQUESTS']])
    const long = { machine: 'db1', command: 'query-status', arguments: 'x'.repeat(5000) }
    await expect(codeOf(peer.call('agent.qmp', long))).resolves.toBe('TOO_MANY_REQUESTS')
  })

  test('messages keep their order when the credit comes late', async () => {
    const seen: number[] = []
    const { opener, fromOther } = peerPair({
      other: {
        'image.upload': async (_, call) => {
          for await (const message of call.messages) if (message[0] === 0) seen.push(message[1].length)
          return { root: null }
        },
      },
    })
    fromOther.hold()
    const call = opener.open('image.upload', UPLOAD)
    const sending = Array.from({ length: 30 }, (_, index) =>
      call.send([0, Array.from({ length: index + 1 }, () => [0, 1] as [0, number])]),
    )
    call.end()
    await arrived()
    expect(seen).toEqual([])
    fromOther.release()
    await Promise.all(sending)
    await call.result
    expect(seen).toEqual(Array.from({ length: 30 }, (_, index) => index + 1))
  })
})

describe('heartbeat', () => {
  test('a side that hears nothing pings, and gives up after HEARTBEAT_TIMEOUT_MS', async () => {
    const { peer, clock, wire } = lonePeer({})
    clock.advance(HEARTBEAT_INTERVAL_MS)
    expect(wire.ofType(FRAME.ping)).toHaveLength(1)
    clock.advance(HEARTBEAT_TIMEOUT_MS - HEARTBEAT_INTERVAL_MS - 1)
    expect(wire.closedWith).toBeNull()
    clock.advance(1)
    expect(wire.closedWith?.code).toBe('HEARTBEAT_TIMEOUT')
    expect((await peer.closed).code).toBe('HEARTBEAT_TIMEOUT')
    expect(clock.waiting).toBe(0)
  })

  test('a time of day that is set ahead ends nothing, and one that is set back hides no silence', async () => {
    const { peer, clock, wire } = lonePeer({})
    clock.set(clock.now() + 10 * HEARTBEAT_TIMEOUT_MS)
    clock.advance(HEARTBEAT_INTERVAL_MS)
    expect(wire.closedWith).toBeNull()
    clock.set(0)
    clock.advance(HEARTBEAT_TIMEOUT_MS - HEARTBEAT_INTERVAL_MS)
    expect((await peer.closed).code).toBe('HEARTBEAT_TIMEOUT')
  })

  test('a side that hears something neither pings nor gives up', () => {
    const { clock, wire, feed } = lonePeer({}, true)
    for (let count = 0; count < 20; count++) {
      clock.advance(HEARTBEAT_INTERVAL_MS - 1)
      feed(FRAME.pong, 0)
    }
    expect(wire.sent).toEqual([])
  })

  test('a ping is answered with its number', () => {
    const { wire, feed } = lonePeer({})
    feed(FRAME.ping, 77)
    expect(wire.sent).toEqual([[FRAME.pong, 77]])
  })

  test('the side that was called measures how long the other one takes to answer, a minute apart, and takes no other pong', () => {
    const { peer, clock, wire, feed } = lonePeer({})
    expect(peer.lagMs).toBeNull()
    const pings = (): (readonly unknown[])[] => wire.ofType(FRAME.ping)
    const pass = (ms: number): void => {
      clock.advance(ms)
      feed(FRAME.ping, 9)
    }
    pass(HEARTBEAT_INTERVAL_MS)
    expect(pings()).toEqual([[FRAME.ping, 1]])
    clock.advance(40)
    feed(FRAME.pong, 7)
    expect(peer.lagMs).toBeNull()
    feed(FRAME.pong, 1)
    expect(peer.lagMs).toBe(40)
    for (let count = 0; count < 3; count++) pass(HEARTBEAT_INTERVAL_MS - 40 / 3)
    expect(pings()).toHaveLength(1)
    pass(HEARTBEAT_INTERVAL_MS)
    expect(pings()).toHaveLength(2)
  })

  test('two idle sides keep each other alive', async () => {
    const { clock, fromOpener, fromOther } = peerPair()
    for (let count = 0; count < 20; count++) {
      clock.advance(HEARTBEAT_INTERVAL_MS)
      await arrived()
    }
    expect([fromOpener.closedWith, fromOther.closedWith]).toEqual([null, null])
  })
})

/** Handlers that never answer and note why they were aborted. */
const noting = (reasons: unknown[]): Handlers => ({
  'machines.list': (_, { signal }) => {
    signal.addEventListener('abort', () => reasons.push(signal.reason))
    return never()
  },
  'image.upload': (_, call) => {
    call.messages[Symbol.asyncIterator]()
      .next()
      .catch((error: unknown) => reasons.push(error))
    return never()
  },
})

describe('the end', () => {
  test('reaches every call of both sides, and leaves no timer', async () => {
    const reasons: unknown[] = []
    const { opener, other, clock, fromOpener, fromOther } = peerPair({ other: noting(reasons), opener: {} })
    const calls = [
      opener.call('machines.list', {}),
      opener.open('image.upload', UPLOAD).result,
      other.open('agent.status', { machine: 'db1' }).result,
    ]
    const stream = opener.open('image.upload', UPLOAD)
    const waiting = stream.messages[Symbol.asyncIterator]().next()
    await arrived()
    other.close(new VarveError('GOING_AWAY', 'stopping'))
    expect(fromOther.ofType(FRAME.error).at(-1)?.slice(0, 3)).toEqual([FRAME.error, 0, 'GOING_AWAY'])
    const codes = await Promise.all([...calls, waiting].map(codeOf))
    expect(codes).toEqual(['GOING_AWAY', 'GOING_AWAY', 'METHOD_UNKNOWN', 'GOING_AWAY'])
    expect((await opener.closed).code).toBe('GOING_AWAY')
    expect((await other.closed).code).toBe('GOING_AWAY')
    expect(reasons).toHaveLength(3)
    for (const reason of reasons) expect(reason).toMatchObject({ code: 'GOING_AWAY' })
    expect(fromOpener.closedWith?.code).toBe('GOING_AWAY')
    expect(clock.waiting).toBe(0)
  })

  const codes = Object.keys(ERRORS) as ErrorCode[]

  test.each([...codes, 'MOON_PHASE' as ErrorCode])(
    'that the other side tells with %s is never an error of ours',
    async (code) => {
      const reasons: unknown[] = []
      const { peer, wire, feed } = lonePeer({
        ...noting(reasons),
        'machines.events': (_, call) => {
          call.send({ event: 'X', timeMs: 1, data: 'x' }).catch((error: unknown) => reasons.push(error))
          return never()
        },
      })
      feed(FRAME.request, 1, 'machines.list', {}, 0)
      feed(FRAME.request, 3, 'image.upload', UPLOAD, 0)
      feed(FRAME.request, 5, 'machines.events', { machine: 'db1' }, 0)
      const made = peer.open('agent.events', { machine: 'db1' })
      const calls = [
        made.result,
        made.messages[Symbol.asyncIterator]().next(),
        peer.call('agent.status', { machine: 'db1' }),
      ]
      const fails = Promise.allSettled(calls)
      await arrived()
      feed(FRAME.error, 0, code, 'told', { id: 'ff', pack: 'p', offset: 7 })
      await arrived()
      const ends = codes.includes(code) && ERRORS[code].scope === 'connection'
      const expected = ends ? code : 'CONNECTION_LOST'
      for (const fail of await fails) expect(fail).toMatchObject({ status: 'rejected', reason: { code: expected } })
      expect(reasons).toHaveLength(3)
      for (const reason of reasons) expect(reason).toMatchObject({ code: expected })
      const closed = await peer.closed
      expect(closed.code).toBe(expected)
      expect(codeThrown(() => peer.open('machines.list', {}))).toBe(expected)
      const known = codes.includes(code) && code !== 'INTERNAL'
      const told = known
        ? { code, message: 'told' }
        : { code: 'PEER_FAILED', message: `the other side failed (${code}): told`, details: { code } }
      if (!ends) expect(closed).toMatchObject({ details: {}, cause: told })
      // the socket closes with the word of the other side: a normal end is one for both
      expect(wire.closedWith?.code).toBe(told.code)
    },
  )

  test('of the socket alone is CONNECTION_LOST for every call', async () => {
    const { peer, clock } = lonePeer({}, true)
    const call = peer.call('machines.list', {})
    peer.transportClosed(new VarveError('CONNECTION_LOST', 'gone'))
    expect(await codeOf(call)).toBe('CONNECTION_LOST')
    expect(await codeOf(peer.call('machines.list', {}))).toBe('CONNECTION_LOST')
    expect(codeThrown(() => peer.open('machines.list', {}))).toBe('CONNECTION_LOST')
    expect(clock.waiting).toBe(0)
  })

  test('comes once: the first reason stays', async () => {
    const { peer, wire } = lonePeer({})
    peer.close(new VarveError('REPLACED', 'first'))
    peer.close(new VarveError('GOING_AWAY', 'second'))
    peer.transportClosed(new VarveError('CONNECTION_LOST', 'third'))
    expect((await peer.closed).code).toBe('REPLACED')
    expect(wire.sent).toHaveLength(1)
  })

  test('a handler that answers after the end sends nothing', async () => {
    const { promise, resolve } = Promise.withResolvers<{ machines: []; next: null }>()
    const { peer, wire, feed } = lonePeer({ 'machines.list': () => promise })
    feed(FRAME.request, 1, 'machines.list', {}, 0)
    peer.transportClosed(new VarveError('CONNECTION_LOST', 'gone'))
    resolve({ machines: [], next: null })
    await arrived()
    expect(wire.sent).toEqual([])
  })

  test('survives a socket that throws', async () => {
    const transport = {
      send: () => {
        throw new Error('the socket is gone')
      },
      close: () => {},
      bufferedBytes: 0,
    }
    const peer = new Peer({ opener: false, transport, handlers: {}, clock: new HandClock() })
    peer.receive(encodeFrame([FRAME.end, 7]))
    expect((await peer.closed).code).toBe('FRAME_UNEXPECTED')
  })
})

describe('a peer that takes its data too slowly', () => {
  test('slows a sender once the socket holds much', async () => {
    const { peer, clock, wire, feed } = lonePeer({}, true)
    const call = peer.open('image.upload', UPLOAD)
    feed(FRAME.credit, 1, CHUNK_WINDOW_BYTES)
    wire.bufferedBytes = 5 * 1024 * 1024
    let done = false
    const sending = call.send([0, [[0, 1]]]).then(() => (done = true))
    await arrived()
    clock.advance(100)
    await arrived()
    expect(done).toBe(false)
    wire.bufferedBytes = 0
    clock.advance(100)
    await sending
    expect(done).toBe(true)
  })

  test('is cut off past OUTBOUND_BYTES_MAX, and a sender that waits is told', async () => {
    const { peer, wire, feed } = lonePeer({}, true)
    const call = peer.open('image.upload', UPLOAD)
    const waiting = call.send([0, [[0, 1]]])
    wire.bufferedBytes = OUTBOUND_BYTES_MAX
    feed(FRAME.ping, 1)
    expect(wire.closedWith).toBeNull()
    wire.bufferedBytes = OUTBOUND_BYTES_MAX + 1
    feed(FRAME.ping, 2)
    expect(wire.closedWith?.code).toBe('CONNECTION_LOST')
    expect(await codeOf(waiting)).toBe('CONNECTION_LOST')
    const sent = wire.sent.length
    feed(FRAME.ping, 3)
    expect(wire.sent).toHaveLength(sent)
  })

  test('is cut off in the middle of a request that it makes', async () => {
    const { peer, wire, feed } = lonePeer({ 'image.upload': reading })
    wire.bufferedBytes = OUTBOUND_BYTES_MAX + 1
    // its first credit is one byte too many
    feed(FRAME.request, 1, 'image.upload', UPLOAD, 0)
    expect((await peer.closed).code).toBe('CONNECTION_LOST')
  })
})
