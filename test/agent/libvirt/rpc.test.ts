// Calls over a socket. Goal: answers reach whom they are for, a daemon that breaks the protocol ends the connection with a
// reason, and a dead one is noticed. Method: a daemon that says what each test tells it to.
import { expect, test } from 'vitest'
import type { Message } from '../../../agent/libvirt/message.ts'
import { LIBVIRT_CALLS_AT_ONCE, LIBVIRT_PENDING_MAX, RpcConnection, type RpcCall } from '../../../agent/libvirt/rpc.ts'
import { XdrWriter } from '../../../agent/libvirt/xdr.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { refusal, startDaemon, type ScriptedClient } from './scripted-daemon.ts'

const PROGRAM = 0x2000_8086
const KEEPALIVE = 0x6b65_6570
const keepalive = (procedure: number, other: Partial<Message['header']> = {}): Message => ({
  header: { program: KEEPALIVE, version: 1, procedure, type: 2, serial: 0, status: 0, ...other },
  payload: Buffer.alloc(0),
})

/** Asks procedure 7 for the number that it is given. */
const ask = (number: number, timeoutMs?: number): RpcCall<number> => ({
  name: 'ask',
  procedure: 7,
  args: new XdrWriter().i32(number),
  read: (reader) => reader.i32(),
  ...(timeoutMs === undefined ? {} : { timeoutMs }),
})

const nothing = (): void => undefined

/** A connection to a daemon that does as told. */
const connected = async (
  onMessage: (message: Message, client: ScriptedClient) => void,
  onNotice: Parameters<typeof RpcConnection.connect>[1] = nothing,
) => {
  const folder = await tempFolder()
  const daemon = await startDaemon(folder.join('s'), onMessage)
  const rpc = await RpcConnection.connect(daemon.path, onNotice)
  return {
    rpc,
    daemon,
    [Symbol.asyncDispose]: async () => {
      rpc.close()
      await daemon[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

test('answers reach whom they are for, in whatever order they come', async () => {
  const held: Message[] = []
  await using stand = await connected((message, client) => {
    held.push(message)
    if (held.length < 3) return
    for (const call of held.toReversed()) client.answer(call, call.payload)
  })
  expect(await Promise.all([1, 2, 3].map((number) => stand.rpc.call(ask(number))))).toEqual([1, 2, 3])
  expect(stand.daemon.received.map(({ header }) => header)).toEqual(
    [1, 2, 3].map((serial) => ({ program: PROGRAM, version: 1, procedure: 7, type: 0, serial, status: 0 })),
  )
})

test('a refusal carries libvirt’s words and numbers, and the connection goes on', async () => {
  await using stand = await connected((message, client) => {
    if (message.payload.readInt32BE() === 1) client.answer(message, refusal(42, 'no domain "x"'), { status: 1 })
    else client.answer(message, message.payload)
  })
  await expect(stand.rpc.call(ask(1))).rejects.toMatchObject({
    code: 'LIBVIRT_ERROR',
    message: 'libvirt refused ask: no domain "x"',
    details: { call: 'ask', libvirtCode: 42, libvirtDomain: 10, message: 'no domain "x"' },
  })
  expect(await stand.rpc.call(ask(2))).toBe(2)
})

test('a refusal in bytes that are not UTF-8, and one that is long, are still told', async () => {
  await using stand = await connected((message, client) => {
    const words = message.payload.readInt32BE() === 1 ? Buffer.from([0x61, 0xff]) : 'y'.repeat(100_000)
    client.answer(message, refusal(1, words), { status: 1 })
  })
  await expect(stand.rpc.call(ask(1))).rejects.toMatchObject({ details: { message: 'a\uFFFD' } })
  await expect(stand.rpc.call(ask(2))).rejects.toMatchObject({ details: { message: 'y'.repeat(1024) } })
})

test.each<[string, (message: Message, client: ScriptedClient) => void, RegExp]>([
  ['an answer to no call', (m, c) => c.answer(m, m.payload, { serial: 9 }), /call that was not made/],
  ['another procedure’s answer', (m, c) => c.answer(m, m.payload, { procedure: 8 }), /another procedure/],
  ['another program’s answer', (m, c) => c.answer(m, m.payload, { program: 1 }), /another procedure/],
  ['another version’s answer', (m, c) => c.answer(m, m.payload, { version: 2 }), /another procedure/],
  ['an answer of unknown status', (m, c) => c.answer(m, m.payload, { status: 2 }), /unknown status 2/],
  ['a stream', (m, c) => c.answer(m, m.payload, { type: 3 }), /type 3/],
  ['an answer with file descriptors', (m, c) => c.answer(m, m.payload, { type: 5 }), /type 5/],
  ['a call', (m, c) => c.answer(m, m.payload, { type: 0 }), /type 0/],
  ['an answer that is too short', (m, c) => c.answer(m, Buffer.alloc(2)), /too early/],
  ['an answer that is too long', (m, c) => c.answer(m, Buffer.alloc(8)), /goes on/],
  ['a refusal that does not read', (m, c) => c.answer(m, Buffer.alloc(8), { status: 1 }), /too early/],
  ['an unknown sign of life', (_m, c) => c.send(keepalive(3)), /unknown kind 3/],
  ['a length that cannot be', (_m, c) => void c.socket.write(Buffer.alloc(4)), /0 bytes/],
  ['the words of a web server', (_m, c) => void c.socket.write('HTTP/1.1 400 Bad Request\r\n'), /1213486160 bytes/],
])('%s ends the connection and every call', async (_what, answer, why) => {
  await using stand = await connected(answer)
  const error = expect.objectContaining({ code: 'LIBVIRT_PROTOCOL', message: expect.stringMatching(why) })
  const calls = await Promise.allSettled([stand.rpc.call(ask(1)), stand.rpc.call(ask(2))])
  expect(calls.map((call) => call.status === 'rejected' && call.reason)).toEqual([error, error])
  expect(await stand.rpc.closed).toEqual(error)
  await expect(stand.rpc.call(ask(3))).rejects.toEqual(error)
})

test('what the daemon sends by itself is handed on, and ends the connection when it does not read', async () => {
  const notices: number[] = []
  await using stand = await connected(
    (message, client) => {
      // libvirt's serial of such a message is 1, not the 0 that its protocol's text has
      const notice = { program: PROGRAM, version: 1, type: 2, serial: 1, status: 0 }
      client.send({ header: { ...notice, procedure: 318 }, payload: Buffer.alloc(0) })
      client.answer(message, message.payload)
      client.send({ header: { ...notice, procedure: 999 }, payload: Buffer.alloc(0) })
    },
    ({ procedure }) => {
      notices.push(procedure)
      if (procedure === 999) throw new Error('no such event')
    },
  )
  expect(await stand.rpc.call(ask(5))).toBe(5)
  expect(await stand.rpc.closed).toMatchObject({ code: 'LIBVIRT_PROTOCOL', message: 'no such event' })
  expect(notices).toEqual([318, 999])
})

test('a sign of life that is asked for is given', async () => {
  await using stand = await connected((message, client) => {
    if (message.header.program === KEEPALIVE) return
    client.send(keepalive(1))
    client.answer(message, message.payload)
  })
  await stand.rpc.call(ask(1))
  await eventually(() => stand.daemon.received.length === 2)
  expect(stand.daemon.received[1]).toEqual(keepalive(2))
})

test('a daemon that gives no sign of life counts as dead, one that does lives on', async () => {
  let silent = false
  await using stand = await connected((message, client) => {
    if (!silent && message.header.program === KEEPALIVE) client.send(keepalive(2))
  })
  const pings = (): number => stand.daemon.received.length
  stand.rpc.watch({ everyMs: 20, missedMax: 5 })
  const waiting = stand.rpc.call(ask(1)).catch((error: unknown) => error)
  await eventually(() => pings() > 10)
  silent = true
  const error = { code: 'LIBVIRT_UNAVAILABLE', message: expect.stringContaining('no sign of life for 100 ms') }
  expect(await stand.rpc.closed).toMatchObject(error)
  expect(await waiting).toMatchObject(error)
})

test(`the daemon gets ${LIBVIRT_CALLS_AT_ONCE} calls at once, so that it goes on reading`, async () => {
  const held: Array<() => void> = []
  await using stand = await connected((message, client) => {
    held.push(() => client.answer(message, message.payload))
  })
  const numbers = Array.from({ length: 10 }, (_, index) => index)
  const calls = Promise.all(numbers.map((number) => stand.rpc.call(ask(number))))
  for (let answered = 0; answered < 10; answered += 1) {
    await eventually(() => held.length === Math.min(10, LIBVIRT_CALLS_AT_ONCE + answered))
    held[answered]?.()
  }
  expect(await calls).toEqual(numbers)
})

test('a call that takes too long keeps its place until the daemon answers, and its answer is dropped', async () => {
  const held: Array<() => void> = []
  await using stand = await connected((message, client) => {
    held.push(() => client.answer(message, message.payload))
  })
  const slow = Array.from({ length: LIBVIRT_CALLS_AT_ONCE }, (_, index) => stand.rpc.call(ask(index, 30)))
  for (const call of slow) {
    await expect(call).rejects.toMatchObject({
      code: 'LIBVIRT_TIMEOUT',
      message: expect.stringContaining('did not answer ask within 30 ms'),
    })
  }
  await expect(stand.rpc.call(ask(7, 30))).rejects.toMatchObject({ code: 'LIBVIRT_TIMEOUT' })
  expect(held.length).toBe(LIBVIRT_CALLS_AT_ONCE)
  const next = stand.rpc.call(ask(8))
  held[0]?.()
  await eventually(() => held.length > LIBVIRT_CALLS_AT_ONCE)
  held.at(-1)?.()
  expect(await next).toBe(8)
})

test(`at most ${LIBVIRT_PENDING_MAX} calls wait`, async () => {
  await using stand = await connected(nothing)
  const calls = Array.from({ length: LIBVIRT_PENDING_MAX }, (_, index) => stand.rpc.call(ask(index)))
  await expect(stand.rpc.call(ask(0))).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS' })
  stand.rpc.close()
  const ended = await Promise.allSettled(calls)
  expect(ended.every((call) => call.status === 'rejected' && call.reason.code === 'LIBVIRT_UNAVAILABLE')).toBe(true)
})

test('a daemon that closes ends every call', async () => {
  await using stand = await connected((_message, client) => void client.socket.destroy())
  await expect(stand.rpc.call(ask(1))).rejects.toMatchObject({
    code: 'LIBVIRT_UNAVAILABLE',
    message: expect.stringContaining('closed the connection'),
  })
})

test.each([
  ['none', 'ENOENT', /not installed, not started/],
  ['file', 'ECONNREFUSED', /has no listener/],
])('a path where nothing listens (%s)', async (name, errno, why) => {
  await using folder = await tempFolder()
  const gone = await startDaemon(folder.join('gone'), nothing)
  await gone[Symbol.asyncDispose]()
  const { writeFile } = await import('node:fs/promises')
  await writeFile(folder.join('file'), '')
  await expect(RpcConnection.connect(folder.join(name), nothing)).rejects.toMatchObject({
    code: 'LIBVIRT_UNAVAILABLE',
    message: expect.stringMatching(why),
    details: { errno, path: folder.join(name) },
  })
})
