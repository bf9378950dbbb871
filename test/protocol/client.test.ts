// Opening a session from the calling side: hello, welcome, refusals, silence. Method: a real WebSocket to a server that the
// test scripts.
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import {
  CLOSE_ERROR,
  CLOSE_NORMAL,
  messageBytes,
  openSession,
  socketTransport,
  type Session,
} from '../../protocol/client.ts'
import { VarveError } from '../../protocol/errors.ts'
import { decodeFrame, encodeFrame, FRAME, type Frame, type Welcome } from '../../protocol/frames.ts'
import { HELLO_TIMEOUT_MS, SUBPROTOCOL } from '../../protocol/limits.ts'
import { ownsBuffer } from '../../protocol/memory.ts'
import type { Handlers } from '../../protocol/peer.ts'
import { HandClock } from '../support/hand-clock.ts'
import { eventually } from '../support/temp.ts'
import { arrived, codeOf, codeThrown } from './peer-pair.ts'

const WELCOME: Welcome = {
  version: 1,
  features: [],
  program: 'gateway',
  subject: 'ada',
  role: 'owner',
  tenant: 'acme',
  expiresMs: 1,
}

let server: WebSocketServer
let url = ''

beforeAll(async () => {
  server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => SUBPROTOCOL })
  await once(server, 'listening')
  url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/rpc`
})

afterAll(async () => {
  for (const client of server.clients) client.terminate()
  server.close()
  await once(server, 'close')
})

interface Meeting {
  readonly session: Promise<Session>
  readonly clock: HandClock
  /** The gateway's end of the socket. */
  readonly far: WebSocket
  /** The first frame that the gateway got. */
  readonly hello: Frame
  readonly closed: Promise<string>
  say(...frame: Frame): void
}

/** Dials the scripted gateway and hands over once its hello is there. */
const meet = async (token: string | null = 'a.b.c', handlers: Handlers = {}): Promise<Meeting> => {
  const clock = new HandClock()
  const accepted = once(server, 'connection') as Promise<[WebSocket]>
  const socket = new WebSocket(url, SUBPROTOCOL)
  const session = openSession({ socket, program: 'test', serving: false, token, handlers, clock })
  session.catch(() => {})
  const [far] = await accepted
  const closed = once(far, 'close').then(([code, reason]) => `${code} ${String(reason)}`)
  const [first] = (await once(far, 'message')) as [Buffer]
  return { session, clock, far, hello: decodeFrame(first), closed, say: (...frame) => far.send(encodeFrame(frame)) }
}

describe('hello', () => {
  test('brings versions, program and token, and the welcome makes a session', async () => {
    const { session, hello, say, clock } = await meet()
    expect(hello).toEqual([
      FRAME.hello,
      { versionMin: 1, versionMax: 1, features: [], program: 'test', serving: false, token: 'a.b.c' },
    ])
    say(FRAME.welcome, WELCOME)
    const { peer, welcome } = await session
    expect(welcome).toEqual(WELCOME)
    const call = peer.call('machines.list', {})
    say(FRAME.result, 1, { machines: [], next: null })
    expect(await call).toEqual({ machines: [], next: null })
    peer.close(new VarveError('CANCELLED', 'done'))
    expect(clock.waiting).toBe(0)
  })

  test('over a socket that is open already', async () => {
    const accepted = once(server, 'connection') as Promise<[WebSocket]>
    const socket = new WebSocket(url, SUBPROTOCOL)
    await once(socket, 'open')
    const [far] = await accepted
    const first = once(far, 'message') as Promise<[Buffer]>
    const session = openSession({
      socket,
      program: 'test',
      serving: true,
      token: null,
      handlers: {},
      clock: new HandClock(),
    })
    expect(decodeFrame((await first)[0])).toMatchObject([FRAME.hello, { serving: true, token: null }])
    far.send(encodeFrame([FRAME.welcome, WELCOME]))
    ;(await session).peer.close(new VarveError('CANCELLED', 'done'))
  })
})

describe('instead of welcome', () => {
  test.each<[string, Frame | string, string]>([
    ['the gateway’s error', [FRAME.error, 0, 'TOKEN_EXPIRED', 'too late', {}], 'TOKEN_EXPIRED'],
    ['another frame', [FRAME.ping, 1], 'FRAME_UNEXPECTED'],
    ['a version that was not offered', [FRAME.welcome, { ...WELCOME, version: 2 }], 'VERSION_UNSUPPORTED'],
    ['text', 'welcome', 'FRAME_INVALID'],
  ])('%s', async (_, answer, code) => {
    const { session, far, closed, clock } = await meet()
    far.send(typeof answer === 'string' ? answer : encodeFrame(answer))
    expect(await codeOf(session)).toBe(code)
    expect(await closed).toBe(`${CLOSE_ERROR} ${code}`)
    expect(clock.waiting).toBe(0)
  })

  test('silence is HELLO_TIMEOUT', async () => {
    const { session, clock, closed } = await meet()
    clock.advance(HELLO_TIMEOUT_MS - 1)
    await arrived()
    clock.advance(1)
    expect(await codeOf(session)).toBe('HELLO_TIMEOUT')
    expect(await closed).toBe(`${CLOSE_ERROR} HELLO_TIMEOUT`)
  })

  test('the end of the socket is CONNECTION_LOST', async () => {
    const { session, far, clock } = await meet()
    far.terminate()
    expect(await codeOf(session)).toBe('CONNECTION_LOST')
    expect(clock.waiting).toBe(0)
  })

  test('nobody there is CONNECTION_LOST', async () => {
    const socket = new WebSocket('ws://127.0.0.1:1/rpc', SUBPROTOCOL)
    const opened = openSession({
      socket,
      program: 'x',
      serving: false,
      token: null,
      handlers: {},
      clock: new HandClock(),
    })
    expect(await codeOf(opened)).toBe('CONNECTION_LOST')
  })
})

describe('an open session', () => {
  const open = async (handlers: Handlers = {}): Promise<Meeting & { peer: Session['peer'] }> => {
    const meeting = await meet(null, handlers)
    meeting.say(FRAME.welcome, WELCOME)
    return { ...meeting, peer: (await meeting.session).peer }
  }

  test('serves calls of the gateway', async () => {
    const { far, say } = await open({ 'agent.cancel': async () => ({}) })
    const answer = once(far, 'message') as Promise<[Buffer]>
    say(FRAME.request, 2, 'agent.cancel', { job: '0192aaaa-0000-4000-8000-0000c0ffee42' }, 0)
    expect(decodeFrame((await answer)[0])).toEqual([FRAME.result, 2, {}])
    far.terminate()
  })

  test('that gets text ends with FRAME_INVALID, and every call with it', async () => {
    const { far, peer, closed } = await open()
    const call = peer.call('machines.list', {})
    far.send('text')
    expect(await codeOf(call)).toBe('FRAME_INVALID')
    expect((await peer.closed).code).toBe('FRAME_INVALID')
    expect(await closed).toBe(`${CLOSE_ERROR} FRAME_INVALID`)
  })

  test('that loses its socket ends with CONNECTION_LOST', async () => {
    const { far, peer, clock } = await open()
    far.terminate()
    expect((await peer.closed).code).toBe('CONNECTION_LOST')
    expect(clock.waiting).toBe(0)
  })

  test('that is done closes normally', async () => {
    const { peer, closed } = await open()
    peer.close(new VarveError('CANCELLED', 'done'))
    expect(await closed).toBe(`${CLOSE_NORMAL} CANCELLED`)
  })
})

describe('the bytes of frames', () => {
  const pair = async (): Promise<{ near: WebSocket; far: WebSocket }> => {
    const accepted = once(server, 'connection') as Promise<[WebSocket]>
    const near = new WebSocket(url, SUBPROTOCOL)
    await once(near, 'open')
    const [far] = await accepted
    return { near, far }
  }

  /** Frames with a large end, and small ones in between. */
  const frames = (): { bytes: Uint8Array; copy: Uint8Array; large: boolean }[] =>
    [300_000, 10, 300_000, 300_000, 2000, 2_000_000, 1].map((length, index) => {
      const bytes = encodeFrame([FRAME.data, index + 1, new Uint8Array(length).fill(index)])
      return { bytes, copy: Uint8Array.from(bytes), large: length > 65_536 }
    })

  test('that are large are freed once they were sent, small ones are left alone, and all arrive as they were', async () => {
    const { near, far } = await pair()
    const got: Buffer[] = []
    far.on('message', (data) => void got.push(data as Buffer))
    const sent = frames()
    const transport = socketTransport(near)
    for (const { bytes } of sent) transport.send(bytes)
    await eventually(() => got.length === sent.length && sent.every(({ bytes, large }) => !large || bytes.length === 0))
    for (const [index, { bytes, copy, large }] of sent.entries()) {
      expect(Buffer.compare(got[index]!, copy)).toBe(0)
      expect(bytes.buffer.byteLength === 0).toBe(large)
      if (!large) expect(Buffer.compare(bytes, copy)).toBe(0)
    }
    near.terminate()
  })

  test('that never leave a socket which is cut off are freed too, or left to the collector', async () => {
    const { near, far } = await pair()
    // nothing reads, so most of it waits in the sender
    far.pause()
    const transport = socketTransport(near)
    const sent = Array.from({ length: 40 }, (_, index) =>
      encodeFrame([FRAME.data, index + 1, new Uint8Array(2_000_000)]),
    )
    for (const bytes of sent) transport.send(bytes)
    expect(transport.bufferedBytes).toBeGreaterThan(0)
    near.terminate()
    await once(near, 'close')
    await eventually(() => sent.every(({ length }) => length === 0))
    const late = encodeFrame([FRAME.data, 1, new Uint8Array(2_000_000)])
    transport.send(late)
    expect(late.length).toBeGreaterThan(0)
    far.terminate()
  })

  test('that are large arrive in a buffer of their own, on either side, and small ones do not', async () => {
    const { near, far } = await pair()
    near.binaryType = 'arraybuffer'
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      const got: Uint8Array[] = []
      const keep = ({ data }: { data: unknown }): void => void got.push(messageBytes(data))
      to.addEventListener('message', keep)
      const sent = frames()
      for (const { bytes } of sent) from.send(bytes)
      await eventually(() => got.length === sent.length)
      for (const [index, { copy, large }] of sent.entries()) {
        expect(Buffer.compare(got[index]!, copy)).toBe(0)
        expect(ownsBuffer(got[index]!)).toBe(large)
      }
      expect(new Set(got.filter((_, index) => sent[index]!.large).map(({ buffer }) => buffer)).size).toBe(4)
      to.removeEventListener('message', keep)
    }
    near.terminate()
  })
})

test('messages are bytes, whatever type a socket gives them', () => {
  const bytes = Uint8Array.of(1, 2)
  expect(messageBytes(bytes)).toBe(bytes)
  expect(messageBytes(bytes.buffer)).toEqual(bytes)
  for (const other of ['text', null, undefined, 5, [bytes]])
    expect(codeThrown(() => messageBytes(other))).toBe('FRAME_INVALID')
})
