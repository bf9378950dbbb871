// Dialling real servers: those that refuse, those that are no gateway, and those whose certificate is not trusted.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createHttp, type RequestListener, type Server } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { createServer as createTcp, type AddressInfo, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { systemClock } from '../../../protocol/host/clock.ts'
import { dial } from '../../../protocol/host/dial.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { decodeFrame, encodeFrame, FRAME, type Welcome } from '../../../protocol/frames.ts'
import { HELLO_TIMEOUT_MS, SUBPROTOCOL } from '../../../protocol/limits.ts'
import { startGateway } from '../../support/gateway.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'
import { codeOf, failureOf } from '../../agent/restore/code-of.ts'
import { HandClock } from '../../support/hand-clock.ts'

const WELCOME: Welcome = {
  version: 1,
  features: [],
  program: 'gateway',
  subject: 'ada',
  role: 'agent',
  tenant: 'acme',
  expiresMs: 1,
}

const options = { token: 'token', program: 'test', serving: false, handlers: {}, clock: systemClock, ca: null }

interface Listening extends AsyncDisposable {
  readonly url: string
}

const listen = async (server: Server | ReturnType<typeof createTcp>, scheme = 'ws'): Promise<Listening> => {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

const http = (answer: RequestListener): Promise<Listening> => listen(createHttp(answer))

const certificate = (temp: TempFolder, name: string): { key: Buffer; cert: Buffer } => {
  const [key, cert] = [temp.join(`${name}.key`), temp.join(`${name}.pem`)]
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1']
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1']
  execFileSync('openssl', [...args, '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' })
  return { key: readFileSync(key), cert: readFileSync(cert) }
}

test("a refused upgrade is the gateway's own error", async () => {
  await using server = await http((_request, response) => {
    response.writeHead(401, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ code: 'AGENT_REVOKED', message: 'the agent was revoked' }))
  })
  const error = await failureOf(dial({ ...options, gateway: server.url }))
  expect(error).toMatchObject({ code: 'AGENT_REVOKED', message: 'the agent was revoked' })
})

test('a token that has expired is laid to this host’s clock where this host has dated it, and else not', async () => {
  const told = { code: 'TOKEN_EXPIRED', message: 'the token has expired' }
  await using server = await http((_request, response) => {
    response.setHeader('date', new Date(Date.now() - 3_600_000).toUTCString())
    response.writeHead(401, { 'content-type': 'application/json' }).end(JSON.stringify(told))
  })
  const own = await failureOf(dial({ ...options, gateway: server.url }))
  expect(own?.message).toContain('set the clocks right')
  expect(await failureOf(dial({ ...options, gateway: server.url, ownToken: false }))).toMatchObject(told)
})

test('a refusal that is not known here, and a fault of the gateway, are the gateway’s in its words', async () => {
  for (const code of ['NO_SUCH_CODE', 'INTERNAL']) {
    await using server = await http((_request, response) => {
      response.writeHead(503).end(JSON.stringify({ code, message: 'not today' }))
    })
    expect(await failureOf(dial({ ...options, gateway: server.url }))).toMatchObject({
      code: 'PEER_FAILED',
      message: `the other side failed (${code}): not today`,
      details: { code },
    })
  }
})

test('a server that is no gateway is named with what it said', async () => {
  const answers: RequestListener[] = [
    (_request, response) => void response.writeHead(404).end('<html>not here</html>'),
    (_request, response) => void response.writeHead(404).end('{"code":"NO_SUCH_CODE"}'),
    (_request, response) => void response.writeHead(404).end('x'.repeat(100_000)),
    // cut short in the middle of the answer
    (_request, response) => {
      response.writeHead(404, { 'content-length': 100 })
      response.write('{"code":')
      setTimeout(() => response.destroy(), 20)
    },
  ]
  for (const answer of answers) {
    await using server = await http(answer)
    const error = await failureOf(dial({ ...options, gateway: server.url }))
    expect(error?.code).toBe('CONNECTION_LOST')
    expect(error?.message).toContain('HTTP 404')
  }
})

test('nobody there, and somebody who speaks no HTTP, are CONNECTION_LOST with the address', async () => {
  await using noise = await listen(createTcp((socket) => void socket.end('220 mail.example ESMTP\r\n')))
  const url = await (async () => {
    await using gone = await listen(createTcp())
    return gone.url
  })()
  for (const gateway of [noise.url, url]) {
    const error = await failureOf(dial({ ...options, gateway }))
    expect(error?.code).toBe('CONNECTION_LOST')
    expect(error?.message).toContain(gateway)
  }
})

test('a server that takes the connection and says nothing is given up', async () => {
  const sockets: Socket[] = []
  await using silent = await listen(createTcp((socket) => void sockets.push(socket)))
  const clock = new HandClock()
  const dialling = codeOf(dial({ ...options, clock, gateway: silent.url }))
  await eventually(() => sockets.length > 0)
  await clock.advanceSettled(HELLO_TIMEOUT_MS)
  expect(['HELLO_TIMEOUT', 'CONNECTION_LOST']).toContain(await dialling)
})

test('over TLS the certificate must be trusted, and the error says what to do', async () => {
  await using temp = await tempFolder()
  const ours = certificate(temp, 'ours')
  const other = certificate(temp, 'other')
  await using gateway = await startGateway({ folder: temp.join('data'), tls: { ...ours, ca: ours.cert } })
  const token = await gateway.tokenFor('viewer')
  for (const ca of [null, other.cert]) {
    const error = await failureOf(dial({ ...options, token, gateway: gateway.url, ca }))
    expect(error?.code).toBe('CONNECTION_LOST')
    expect(error?.message).toContain('certificate')
    expect(error?.message).toContain('"ca"')
  }
  const { peer, welcome } = await dial({ ...options, token, gateway: gateway.url, ca: ours.cert })
  expect(welcome.role).toBe('viewer')
  peer.close(new VarveError('CANCELLED', 'done'))
})

test('plain to a TLS port and TLS to a plain port are errors, not hangs', async () => {
  await using temp = await tempFolder()
  await using tls = await listen(createHttps(certificate(temp, 'ours')), 'ws')
  await using plain = await http((_request, response) => void response.end())
  expect(await codeOf(dial({ ...options, gateway: tls.url }))).toBe('CONNECTION_LOST')
  expect(await codeOf(dial({ ...options, gateway: plain.url.replace('ws:', 'wss:') }))).toBe('CONNECTION_LOST')
})

test('frames leave with a mask of zeroes, so that their bytes are on the line as they are, and arrive so', async () => {
  const line: Buffer[] = []
  const arrived: Buffer[] = []
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => SUBPROTOCOL })
  const server = createHttp()
  server.on('upgrade', (request, socket, head) => {
    socket.on('data', (bytes: Buffer) => void line.push(Buffer.from(bytes)))
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('message', (data) => void arrived.push(data as Buffer))
      webSocket.send(encodeFrame([FRAME.welcome, WELCOME]))
    })
  })
  await using listening = await listen(server)
  const { peer } = await dial({ ...options, gateway: listening.url })
  const configuration = 'x'.repeat(200_000)
  const job = randomUUID()
  const params = { job, timeMs: 1, consistency: 'crash' as const, note: null, configuration, leftOut: [], disks: [] }
  peer.call('backup.begin', params).catch(() => undefined)
  await eventually(() => arrived.length === 2)
  const [hello, request] = arrived.map((bytes) => decodeFrame(bytes))
  expect(hello?.[0]).toBe(FRAME.hello)
  expect(request?.slice(0, 4)).toEqual([FRAME.request, 1, 'backup.begin', params])
  const bytes = Buffer.concat(line)
  // RFC 6455, 5.2: the mask bit is set as it must be, the length has eight bytes, then come the mask and the frame
  const length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(arrived[1]!.length))
  const header = Buffer.concat([Buffer.of(0x82, 0x80 | 127), length, Buffer.alloc(4)])
  expect(bytes.indexOf(Buffer.concat([header, arrived[1]!]))).toBe(bytes.length - header.length - arrived[1]!.length)
  peer.close(new VarveError('CANCELLED', 'done'))
})

test("a real gateway's refusals keep their codes, and its session works", async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  expect(await codeOf(dial({ ...options, gateway: gateway.url }))).toBe('TOKEN_MALFORMED')
  const identity = await gateway.enrolAgent(temp.join('state'))
  const token = await identity.assertion(Date.now())
  const { peer, welcome } = await dial({ ...options, token, serving: true, gateway: gateway.url })
  expect(welcome).toMatchObject({ subject: identity.record.agentId, role: 'agent' })
  expect(await peer.call('machines.list', {})).toEqual({ machines: [], next: null })
  peer.close(new VarveError('CANCELLED', 'done'))
})
