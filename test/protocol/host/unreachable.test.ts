// Every way in which a connection to a gateway breaks, for sessions and for enrolment: CONNECTION_LOST, with one line that
// says what to do.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer as createHttp, type RequestListener, type Server } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { systemClock } from '../../../protocol/host/clock.ts'
import { enrolHost } from '../../../agent/enrol.ts'
import { dial } from '../../../protocol/host/dial.ts'
import { clocksApart, CONFIGURED, unreachable } from '../../../protocol/host/unreachable.ts'
import { makeCertificate, type Pair, type Wanted } from '../../support/certificates.ts'
import { tempFolder } from '../../support/temp.ts'
import { failureOf } from '../../agent/restore/code-of.ts'

type OnSocket = (socket: Socket) => void

/** What a server does once the first bytes have come. */
const onData =
  (action: OnSocket): OnSocket =>
  (socket) =>
    socket.once('data', () => action(socket))

const says =
  (...lines: readonly string[]): OnSocket =>
  (socket) =>
    void socket.write(lines.join('\r\n'))

const cut: OnSocket = (socket) => socket.resetAndDestroy()
const halfAnswer = says('HTTP/1.1 500 X', 'Content-Length: 100', '', '{"co')
const switched = says('HTTP/1.1 101 X', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Accept: x', '', '')

const BREAKS: readonly (readonly [name: string, scheme: 'ws' | 'wss', onSocket: OnSocket])[] = [
  ['is reset at once', 'ws', cut],
  ['is reset after the request', 'ws', onData(cut)],
  ['is closed after the request', 'ws', onData((socket) => socket.end())],
  ['is half closed before the request', 'ws', (socket) => socket.end()],
  ['is reset in the answer’s body', 'ws', onData((socket) => (halfAnswer(socket), setImmediate(() => cut(socket))))],
  ['is closed in the answer’s body', 'ws', onData((socket) => (halfAnswer(socket), socket.end()))],
  ['answers with null', 'ws', onData(says('HTTP/1.1 500 X', 'Content-Length: 4', '', 'null'))],
  ['answers with a text', 'ws', onData(says('HTTP/1.1 500 X', 'Content-Length: 3', '', '"x"'))],
  ['switches to another protocol', 'ws', onData((socket) => (switched(socket), socket.end()))],
  [
    'leads elsewhere',
    'ws',
    onData(says('HTTP/1.1 302 X', 'Location: http://127.0.0.1:1/', 'Content-Length: 0', '', '')),
  ],
  ['speaks no HTTP', 'ws', onData((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'))],
  ['is reset in the TLS handshake', 'wss', onData(cut)],
  ['is closed in the TLS handshake', 'wss', onData((socket) => socket.end())],
  ['speaks no TLS', 'wss', onData((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))],
]

/** Both ways to a gateway, tried. */
const failures = async (gateway: string): Promise<unknown[]> => {
  await using temp = await tempFolder()
  const session = { program: 'test', serving: false, handlers: {}, clock: systemClock }
  return [
    await failureOf(dial({ ...session, gateway, ca: null, token: 'x' })),
    await failureOf(enrolHost({ gateway, ca: null, token: 'x', state: temp.join('state') })),
  ]
}

/** One line that names what was wrong. */
const LOST = {
  name: 'VarveError',
  code: 'CONNECTION_LOST',
  retry: true,
  message: expect.stringMatching(/^[^\n]{20,}$/u) as string,
}

test.each(BREAKS)('a connection that %s', async (_, scheme, onSocket) => {
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    open.add(socket)
    socket.on('error', () => {})
    onSocket(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const gateway = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`
  for (const failure of await failures(gateway)) expect(failure).toMatchObject(LOST)
  for (const socket of open) socket.destroy()
  server.close()
  await once(server, 'close')
})

test('an address where nobody listens, and names that lead to none', async () => {
  for (const gateway of ['ws://127.0.0.1:1', 'ws://localhost:1', 'ws://[::1]:1', 'wss://no-such-host.invalid:1'])
    for (const failure of await failures(gateway)) expect(failure).toMatchObject(LOST)
})

const GATEWAY = 'wss://backup.example'
const TRIED = { gateway: GATEWAY, hasCa: false, sight: null, words: CONFIGURED, nowMs: Date.UTC(2027, 0, 1) }

test.each([
  ['ECONNREFUSED', 'does the gateway run'],
  ['ENOTFOUND', 'check the name'],
  ['EAI_AGAIN', 'check the name'],
  ['ETIMEDOUT', 'check the network'],
  ['EHOSTUNREACH', 'check the network'],
  ['ECONNRESET', 'try again'],
  ['EPIPE', 'try again'],
  ['EMFILE', 'try again later'],
  ['EPROTO', 'wss:// or ws://'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'wss:// or ws://'],
  ['HPE_INVALID_CONSTANT', 'check address and port'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'set "ca"'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'set "ca"'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'set "ca"'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'set "ca"'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'names no host'],
  ['CERT_HAS_EXPIRED', 'renew it at the gateway'],
  ['CERT_NOT_YET_VALID', 'set the clocks right'],
])('%s says what to do', (code, words) => {
  // as of several addresses tried at once: a code and no words
  const { message } = unreachable(TRIED, Object.assign(new Error(''), { code }))
  expect(message).toContain(words)
  expect(message).toContain(GATEWAY)
  expect(message).toContain(code)
})

test('one that signed itself and is not the one in "ca" was probably renewed', () => {
  const error = Object.assign(new Error(''), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  expect(unreachable({ ...TRIED, hasCa: true }, error).message).toContain('copy it from the gateway again')
})

test('what has no code is told in its own first line', () => {
  expect(unreachable(TRIED, new Error('a\nb\n'))).toMatchObject({ message: `cannot reach ${GATEWAY}: a` })
})

test('clocks are told from a half minute apart on', () => {
  const now = Date.UTC(2027, 0, 1)
  expect([null, now, now + 29_000].map((gatewayMs) => clocksApart(gatewayMs, now))).toEqual([null, null, null])
  expect(clocksApart(now - 40_000, now)).toBe("this host's clock is 40 s ahead of the gateway's")
  expect(clocksApart(now + 3 * 3_600_000, now)).toBe("this host's clock is 3 h behind the gateway's")
})

/** Both ways to a server with this certificate, where `ca` is trusted, with the answer given. */
const withCertificate = async (
  pair: Pair,
  ca: string | null,
  answer: RequestListener = (_, response) => void response.writeHead(404).end(),
): Promise<string[]> => {
  await using temp = await tempFolder()
  const tls = { cert: await readFile(pair.cert), key: await readFile(pair.key) }
  const server = createHttps(tls, answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const gateway = `wss://127.0.0.1:${(server.address() as AddressInfo).port}`
  const trusted = ca === null ? null : await readFile(ca)
  const session = { program: 'test', serving: false, handlers: {}, clock: systemClock }
  const told = [
    await failureOf(dial({ ...session, gateway, ca: trusted, token: 'x' })),
    await failureOf(enrolHost({ gateway, ca: trusted, token: 'x', state: temp.join('state') })),
  ]
  server.closeAllConnections()
  server.close()
  for (const failure of told) expect(failure?.code).toBe('CONNECTION_LOST')
  return told.map((failure) => failure!.message)
}

test('each fault of a certificate has a sentence of its own, with the way out', async () => {
  await using temp = await tempFolder()
  const make = (name: string, wanted: Wanted = {}): Promise<Pair> => makeCertificate(temp.path, name, wanted)
  const authority = await make('authority', { authority: true, names: null })
  const old = await make('old-authority', { authority: true, names: null, toDays: -0.5 })
  const of = (name: string, wanted: Wanted = {}): Promise<Pair> => make(name, { by: authority, ...wanted })
  const self = await make('self')
  const cases: readonly (readonly [pair: Pair, ca: string | null, says: RegExp])[] = [
    [
      await of('expired', { fromDays: -9, toDays: -2 }),
      authority.cert,
      /has expired, at 20.*Z \(CERT_HAS_EXPIRED\); it is 20.*this host's clock and 20.*the gateway's: renew it at the gateway/u,
    ],
    [
      await of('early', { fromDays: 2 }),
      authority.cert,
      /is not valid yet, only from 20.* on \(CERT_NOT_YET_VALID\).*set the clocks right/u,
    ],
    [
      await make('by-old', { by: old }),
      old.cert,
      /authority \(the one in "ca"\) that signed the certificate .* has expired \(CERT/u,
    ],
    [
      await of('elsewhere', { names: 'DNS:backup.example,IP:192.0.2.1' }),
      authority.cert,
      /is for DNS:backup\.example, IP:192\.0\.2\.1, not for 127\.0\.0\.1/u,
    ],
    [
      await of('nameless', { names: null }),
      authority.cert,
      /names no host, not for 127\.0\.0\.1|is for .*not for 127/u,
    ],
    [self, null, /self-signed; set "ca" to a copy of it/u],
    [self, authority.cert, /self-signed and not the one in "ca"/u],
    [
      await make('stranger', { by: await make('other-authority', { authority: true, names: null }) }),
      authority.cert,
      /the authority in "ca" did not sign it/u,
    ],
    [await of('unknown'), null, /the authority that signed it is unknown to this host; set "ca"/u],
  ]
  for (const [pair, ca, says] of cases)
    for (const message of await withCertificate(pair, ca)) expect(message).toMatch(says)
  const behind: RequestListener = (_, response) => {
    response.setHeader('date', new Date(Date.now() - 3 * 24 * 3_600_000).toUTCString())
    response.writeHead(200).end()
  }
  for (const message of await withCertificate(await of('late', { fromDays: -9, toDays: -2 }), authority.cert, behind))
    expect(message).toContain("this host's clock is 3 days ahead of the gateway's: set the clocks right")
})

test('a port with TLS and a port without it are told apart', async () => {
  await using temp = await tempFolder()
  const pair = await makeCertificate(temp.path, 'gateway')
  const secure = createHttps(
    { cert: await readFile(pair.cert), key: await readFile(pair.key) },
    (_, response) => void response.end(),
  )
  const plain = createHttp((_, response) => void response.end())
  for (const server of [secure, plain]) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }
  const portOf = (server: Server): number => (server.address() as AddressInfo).port
  for (const failure of await failures(`ws://127.0.0.1:${portOf(secure)}`))
    expect(failure).toMatchObject({ message: expect.stringContaining('speaks TLS: use wss://') as string })
  for (const failure of await failures(`wss://127.0.0.1:${portOf(plain)}`))
    expect(failure).toMatchObject({ message: expect.stringContaining('does not speak TLS: use ws://') as string })
  for (const server of [secure, plain]) {
    server.closeAllConnections()
    server.close()
  }
})

const ANSWERS: readonly (readonly [status: number, headers: Record<string, string>, says: string])[] = [
  [502, {}, 'a proxy there does not reach its gateway'],
  [503, {}, 'is the gateway running'],
  [301, { location: 'https://elsewhere.example/' }, 'redirects to https://elsewhere.example/'],
  [401, { 'www-authenticate': 'Basic' }, 'asks for a password'],
  [200, {}, 'which no gateway does'],
  [404, {}, 'which no gateway does'],
]

test.each(ANSWERS)('a server that answers %d is no gateway', async (status, headers, says) => {
  const server = createHttp((_, response) => void response.writeHead(status, headers).end('<html>'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const gateway = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
  const told = await failures(gateway)
  expect(told[0]).toMatchObject({ code: 'CONNECTION_LOST', message: expect.stringContaining(says) as string })
  expect(told[0]).toMatchObject({ message: expect.stringContaining(gateway) as string })
  if (status !== 200) expect(told[1]).toMatchObject({ message: expect.stringContaining(says) as string })
  server.closeAllConnections()
  server.close()
})

test('a WebSocket server that is no gateway is told by its subprotocol', async () => {
  const server = createHttp()
  const sockets = new WebSocketServer({ server, handleProtocols: () => 'chat' })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const gateway = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
  const session = { program: 'test', serving: false, handlers: {}, clock: systemClock }
  expect(await failureOf(dial({ ...session, gateway, ca: null, token: 'x' }))).toMatchObject({
    code: 'CONNECTION_LOST',
    message: expect.stringMatching(/not a gateway of this protocol.*subprotocol/u) as string,
  })
  sockets.close()
  server.closeAllConnections()
  server.close()
})
