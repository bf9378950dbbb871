// Every way in which a connection to a gateway breaks, for sessions and for enrolment: CONNECTION_LOST, with one line that says what to do.
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { systemClock } from '../../../agent/clock.ts'
import { enrolHost } from '../../../agent/enrol.ts'
import { dial } from '../../../agent/session/socket.ts'
import { unreachable } from '../../../agent/session/unreachable.ts'
import { tempFolder } from '../../support/temp.ts'
import { failureOf } from '../restore/code-of.ts'

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
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'set "ca"'],
  ['CERT_HAS_EXPIRED', 'set "ca"'],
])('%s says what to do', (code, words) => {
  // as of several addresses tried at once: a code and no words
  const { message } = unreachable('wss://backup.example', Object.assign(new Error(''), { code }))
  expect(message).toContain(words)
  expect(message).toContain('wss://backup.example')
  expect(message).toContain(code)
})

test('what has no code is told in its own first line', () => {
  expect(unreachable('wss://backup.example', new Error('a\nb\n'))).toMatchObject({
    message: 'cannot reach wss://backup.example: a',
  })
})
