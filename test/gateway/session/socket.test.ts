// The upgrade and the socket around a connection: who gets in, with which error everybody else stays out.
import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { connect } from 'node:net'
import { once } from 'node:events'
import { expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { pathOf } from '../../../gateway/session/socket.ts'
import { CHUNK_BYTES_DEFAULT } from '../../../protocol/chunk.ts'
import { encodeFrame, FRAME } from '../../../protocol/frames.ts'
import { FRAME_BYTES_MAX, RPC_PATH, SUBPROTOCOL } from '../../../protocol/limits.ts'
import { LOAD, RUN, UP, type Params } from '../../../protocol/methods.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { startGateway, type TestGateway } from '../../support/gateway.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { headerOf, OPCODE, RawSocket } from '../../attack/raw-socket.ts'
import { chunksMessage, plainOf, splitChunks, wireChunk } from '../../protocol/wire-chunks.ts'
import { BEGUN, fullDisk } from '../catalog.ts'
import { HELLO } from '../services.ts'

interface Refusal {
  readonly status: number
  readonly body: { code: string; message: string }
}

/** What the gateway answers to an upgrade with these headers. */
const upgrade = (gateway: TestGateway, path: string, headers: Record<string, string>): Promise<Refusal> =>
  new Promise((resolve, reject) => {
    const upgrading = request(new URL(path, gateway.httpUrl), {
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
        ...headers,
      },
    })
    upgrading.on('error', reject)
    upgrading.on('upgrade', (_, socket) => {
      socket.destroy()
      resolve({ status: 101, body: { code: 'none', message: '' } })
    })
    upgrading.on('response', (response) => {
      let text = ''
      response.on('data', (part: Buffer) => (text += part.toString()))
      response.on('end', () => resolve({ status: response.statusCode!, body: JSON.parse(text) as Refusal['body'] }))
    })
    upgrading.end()
  })

test('an upgrade needs the path, the subprotocol, and no bad token', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const subprotocol = { 'sec-websocket-protocol': SUBPROTOCOL }
  const token = await gateway.tokenFor('viewer')
  const codes = async (path: string, headers: Record<string, string>) => {
    const { status, body } = await upgrade(gateway, path, headers)
    return [status, body.code]
  }
  expect(await codes(RPC_PATH, subprotocol)).toEqual([101, 'none'])
  expect(await codes(RPC_PATH, { ...subprotocol, authorization: `Bearer ${token}` })).toEqual([101, 'none'])
  expect(await codes('/elsewhere', subprotocol)).toEqual([404, 'NOT_FOUND'])
  expect(await codes(RPC_PATH, {})).toEqual([400, 'VERSION_UNSUPPORTED'])
  expect(await codes(RPC_PATH, { 'sec-websocket-protocol': 'varve.v9' })).toEqual([400, 'VERSION_UNSUPPORTED'])
  const bearer = (authorization: string) => codes(RPC_PATH, { ...subprotocol, authorization })
  expect(await bearer('Basic abc')).toEqual([401, 'TOKEN_MALFORMED'])
  expect(await bearer('Bearer a.b.c')).toEqual([401, 'TOKEN_MALFORMED'])
  expect(await bearer(`Bearer ${token.slice(0, -8)}AAAAAAAA`)).toEqual([401, 'TOKEN_SIGNATURE'])
  expect(await bearer(`Bearer ${await gateway.enrolmentToken()}`)).toEqual([401, 'TOKEN_CLAIMS'])
  const { body } = await upgrade(gateway, RPC_PATH, { ...subprotocol, authorization: 'Bearer a.b.c' })
  expect(body.message).not.toContain('a.b.c')
})

test('a refused upgrade does not leave its socket open to a client that never closes', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const socket = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => {})
  socket.write('GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  socket.resume()
  await once(socket, 'end')
  // the other side is gone for good: what is written now is answered with a reset
  await eventually(() => {
    if (socket.destroyed) return true
    socket.write('x')
    return false
  })
})

/** A raw WebSocket; its close code and reason. */
const closing = (gateway: TestGateway, act: (socket: WebSocket) => void): Promise<[number, string]> =>
  new Promise((resolve) => {
    const socket = new WebSocket(new URL(RPC_PATH, gateway.url), SUBPROTOCOL)
    socket.on('open', () => act(socket))
    socket.on('error', () => {})
    socket.on('close', (code, reason) => resolve([code, reason.toString()]))
  })

test('text, frames that are too large and nonsense close the socket with their code', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  expect(await closing(gateway, (socket) => socket.send('hello'))).toEqual([4000, 'FRAME_INVALID'])
  expect(await closing(gateway, (socket) => socket.send(new Uint8Array([0xc1])))).toEqual([4000, 'FRAME_INVALID'])
  const large = new Uint8Array(FRAME_BYTES_MAX + 1)
  expect(await closing(gateway, (socket) => socket.send(large))).toEqual([4000, 'FRAME_TOO_LARGE'])
  const missing = closing(gateway, (socket) => socket.send(encodeFrame([FRAME.hello, HELLO])))
  expect(await missing).toEqual([4000, 'TOKEN_MISSING'])
})

test('who closes, or breaks the rules, and sends on is let go as soon as it has ended', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const message = Buffer.concat([headerOf(OPCODE.binary, 40_000, true), Buffer.alloc(40_000)])
  // more than sockets hold
  const further = Array.from({ length: 400 }, () => message)
  const closingFrame = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8])
  const reservedBit = Buffer.from([0xc2, 0x80, 0, 0, 0, 0])
  for (const first of [closingFrame, reservedBit]) {
    const socket = await RawSocket.open(gateway.url, { token: await gateway.tokenFor('viewer') })
    await socket.hello()
    void socket.write(Buffer.concat([first, ...further]))
    await eventually(async () => socket.over)
  }
})

/** Backs a disk of these chunks up over an agent's session, 16 in a message, and gives the restore point. */
const backUp = async (agent: Peer, order: Params<'agent.backup'>, plains: readonly Uint8Array[]): Promise<string> => {
  const { job, idKey } = order
  const size = plains.length * CHUNK_BYTES_DEFAULT
  await agent.call('backup.begin', { ...BEGUN, job, disks: [fullDisk('vda', size)] })
  const upload = agent.open('image.upload', { job, disk: 'vda' })
  const answers = upload.messages[Symbol.asyncIterator]()
  const ids = plains.map((plain) => keyedHash(idKey, plain))
  await upload.send([UP.runs, [[RUN.ids, Buffer.concat(ids)]]])
  // the start, and the answers: everything is wanted
  await answers.next()
  await answers.next()
  for (let from = 0; from < plains.length; from += 16) {
    const chunks = plains.slice(from, from + 16).map((plain, index) => wireChunk(ids[from + index]!, plain))
    await upload.send(chunksMessage(UP.chunks, ...chunks))
  }
  upload.end()
  await upload.result
  return (await agent.call('backup.commit', { job, bytesRead: size })).point
}

test('what goes over a socket is freed once it was sent where it is large, on both sides, and loses no byte', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  // every frame of both sides, as it was given to its socket
  const sending = vi.spyOn(WebSocket.prototype, 'send')
  try {
    const identity = await gateway.enrolAgent(temp.join('state'))
    const orders: Params<'agent.backup'>[] = []
    const agent = await gateway.connectAgent(identity, ['db1'], {
      'agent.backup': async (order) => {
        orders.push(order)
        return {}
      },
    })
    const owner = await gateway.connectAs(await gateway.tokenFor('owner'))
    await owner.call('backup.start', { machine: 'db1', full: false })
    // noise, which is large on the line, and text, of which many chunks are decoded together
    const plains = Array.from({ length: 128 }, (_, index) =>
      index < 64 ? randomBytes(CHUNK_BYTES_DEFAULT) : Buffer.alloc(CHUNK_BYTES_DEFAULT, `text ${index} `),
    )
    const point = await backUp(agent, orders[0]!, plains)
    const download = owner.open('image.download', { point, disk: 'vda', position: 0, skipDamaged: false })
    const restored: Uint8Array[] = []
    for await (const [kind, heads, stored] of download.messages)
      if (kind === LOAD.chunks) restored.push(...splitChunks({ heads, stored }).map(plainOf))
    await download.result
    expect(Buffer.concat(restored).equals(Buffer.concat(plains))).toBe(true)
    const sent = sending.mock.calls.map(([bytes]) => bytes as Uint8Array)
    const left = (): Uint8Array[] => sent.filter(({ buffer }) => buffer.byteLength > 0)
    await eventually(() => left().every(({ length }) => length < 65_536))
    // four messages of noise up and as many bytes down
    expect(sent.length - left().length).toBeGreaterThanOrEqual(5)
    expect(left().length).toBeGreaterThan(10)
  } finally {
    sending.mockRestore()
  }
})

test('a request’s path is its target without the query, whatever the target is', () => {
  const of = (url: string | undefined) => pathOf({ url } as Parameters<typeof pathOf>[0])
  expect([of('/rpc?x=1'), of('//'), of('*'), of('http://a b/'), of(undefined), of('?')]).toEqual([
    '/rpc',
    '//',
    '*',
    'http://a b/',
    '',
    '',
  ])
})

test('who sends more small frames than anybody needs is read slower, and others are not', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const other = await gateway.connectAs(await gateway.tokenFor('owner'))
  const flood = await RawSocket.open(gateway.url, { token: await gateway.tokenFor('viewer') })
  await flood.hello()
  const ping = encodeFrame([FRAME.ping, 0])
  // an answer has no mask: 2 bytes of header
  const answerBytes = 2 + ping.length
  const count = 60_000
  const before = flood.bytesRead
  const one = Buffer.concat([headerOf(OPCODE.binary, ping.length, true), ping])
  void flood.write(Buffer.concat(Array.from({ length: count }, () => one)))
  await eventually(async () => flood.bytesRead > before)
  for (let call = 0; call < 20; call++) await other.call('machines.list', {})
  expect(flood.bytesRead - before).toBeLessThan(count * answerBytes)
  expect(flood.over).toBe(false)
  flood.destroy()
})
