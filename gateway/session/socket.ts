// WebSockets of the gateway: the upgrade, its limits, and the bytes between a socket and a connection.
import type { IncomingMessage } from 'node:http'
import { createConnection } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocket, WebSocketServer } from 'ws'
import { asVarveError, ERRORS, toldError, VarveError } from '../../protocol/errors.ts'
import type { Claims } from '../../protocol/claims.ts'
import { CLOSE_ERROR, CLOSE_NORMAL, openSession, type Session } from '../../protocol/client.ts'
import { FRAME_BYTES_MAX, RPC_PATH, SUBPROTOCOL } from '../../protocol/limits.ts'
import type { Clock } from '../../protocol/peer.ts'
import { outward } from '../service/outward.ts'
import { Connection, type SessionParts } from './connection.ts'
import { Intake } from './intake.ts'
import { SocketTransport } from './transport.ts'

/** How long a closing socket may take before it is cut, in milliseconds. */
const CLOSE_TIMEOUT_MS = 2000

/** Names the tenant of a session on the local socket; without it the session is the platform's. */
const TENANT_HEADER = 'x-varve-tenant'

/** Longest refusal of an upgrade that is read, in bytes. */
const REFUSAL_BYTES_MAX = 8192

/** Whom an upgrade lets in: who brings a token, or, on a socket that only the gateway's own user can open, everybody. */
export type Admission = 'token' | 'local'

/** The close code of an error and the words that go with it (at most 123 bytes by RFC 6455). */
const closeSocket = (socket: WebSocket, error: VarveError): void => {
  socket.close(error.code === 'CANCELLED' ? CLOSE_NORMAL : CLOSE_ERROR, error.code)
  setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS).unref()
}

const transportOf = (socket: WebSocket): SocketTransport =>
  new SocketTransport({
    get open() {
      return socket.readyState === WebSocket.OPEN
    },
    send: (bytes, sent) => socket.send(bytes, sent),
    pong: (data, sent) => socket.pong(data, false, sent),
    close: (error) => closeSocket(socket, error),
  })

/** A refusal says what time it is here: a token may be refused because its host's clock is wrong. */
const refuseUpgrade = (socket: Duplex, error: VarveError, nowMs: number): void => {
  const body = JSON.stringify({ code: error.code, message: error.message })
  const { http } = ERRORS[error.code]
  // a client that never closes its side must not keep the socket
  socket.once('finish', () => socket.destroy())
  socket.end(
    `HTTP/1.1 ${http} ${error.code}\r\nDate: ${new Date(nowMs).toUTCString()}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}

/** The path of a request's target, whatever it is; the empty path where it has none. */
export const pathOf = ({ url }: IncomingMessage): string => url?.split('?', 1)[0] ?? ''

/** A peer on the local socket has no address. */
const addressOf = ({ socket }: IncomingMessage): string => socket.remoteAddress ?? 'local'

const tenantNamed = ({ headers }: IncomingMessage): string | null => {
  const name = headers[TENANT_HEADER]
  return name === undefined ? null : String(name)
}

const bearerOf = (request: IncomingMessage): string | null => {
  const { authorization } = request.headers
  if (authorization === undefined) return null
  const token = /^Bearer ([^\s]+)$/iu.exec(authorization)?.[1]
  if (token === undefined) throw new VarveError('TOKEN_MALFORMED', 'the Authorization header is not a bearer token')
  return token
}

export class Sockets {
  readonly #parts: SessionParts
  readonly #admission: Admission
  readonly #onKnown: (request: IncomingMessage) => void
  readonly #server = new WebSocketServer({
    noServer: true,
    maxPayload: FRAME_BYTES_MAX,
    perMessageDeflate: false,
    // a peer that reads nothing could have any number of pongs wait
    autoPong: false,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  })
  readonly #connections = new Set<Connection>()
  #ended: VarveError | null = null

  /** `onKnown` is told of connections of which it is known who is on the other side. */
  constructor(parts: SessionParts, admission: Admission, onKnown: (request: IncomingMessage) => void = () => {}) {
    this.#parts = parts
    this.#onKnown = onKnown
    this.#admission = admission
    this.#server.on('headers', (headers) => headers.push(`Date: ${new Date(parts.clock.now()).toUTCString()}`))
  }

  /** Answers an HTTP upgrade: a WebSocket, or an HTTP error with a code. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy())
    try {
      const claims = await this.#admit(request)
      if (this.#ended !== null) throw this.#ended
      this.#server.handleUpgrade(request, socket, head, (webSocket) => this.#connect(webSocket, request, claims))
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code === 'INTERNAL') this.#parts.log.error({ err: thrown }, 'an upgrade failed')
      refuseUpgrade(socket, outward(error), this.#parts.clock.now())
    }
  }

  /** Tells every connection why it ends; further ones are refused with the same reason. */
  end(error: VarveError): void {
    this.#ended = error
    for (const connection of this.#connections) connection.end(error)
  }

  async #admit(request: IncomingMessage): Promise<Claims | null> {
    if (this.#ended !== null) throw this.#ended
    if (pathOf(request) !== RPC_PATH) throw new VarveError('NOT_FOUND', `the WebSocket is at ${RPC_PATH}`)
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
    if (!offered.includes(SUBPROTOCOL))
      throw new VarveError('VERSION_UNSUPPORTED', `this gateway speaks the subprotocol ${SUBPROTOCOL}`)
    const { admission } = this.#parts
    if (this.#admission === 'local') return admission.local(tenantNamed(request))
    const token = bearerOf(request)
    return token === null ? null : admission.byToken(token, addressOf(request))
  }

  #connect(socket: WebSocket, request: IncomingMessage, claims: Claims | null): void {
    const transport = transportOf(socket)
    const connection = new Connection({
      parts: this.#parts,
      transport,
      claims,
      address: addressOf(request),
      onKnown: () => this.#onKnown(request),
    })
    this.#connections.add(connection)
    const intake = new Intake({ announced: (bytes) => connection.announced(bytes), whole: () => connection.whole() })
    let stopPause: (() => void) | null = null
    const pause = (ms: number): void => {
      stopPause?.()
      socket.pause()
      stopPause = this.#parts.clock.after(ms, () => socket.resume())
    }
    const watch = (bytes: Buffer): void => {
      const error = intake.feed(bytes)
      if (error === null) return
      // nothing more is gathered while the connection ends
      request.socket.off('data', watch)
      stopPause?.()
      connection.end(error)
      socket.pause()
    }
    // before the WebSocket's own listener, which gathers what comes
    request.socket.prependListener('data', watch)
    socket.on('ping', (data) => transport.pong(data))
    socket.on('message', (data, isBinary) => {
      if (!isBinary) return connection.end(new VarveError('FRAME_INVALID', 'a text message came; frames are binary'))
      // `nodebuffer` is the default binary type
      connection.receive(data as Buffer)
      const pauseMs = connection.pauseMs(data as Buffer)
      if (pauseMs > 0) pause(pauseMs)
    })
    // a payload past the limit is reported here, after ws has sent close code 1009
    socket.on('error', (error) => this.#parts.log.info({ err: error, address: addressOf(request) }, 'a socket failed'))
    socket.on('close', () => {
      this.#connections.delete(connection)
      stopPause?.()
      connection.closed()
    })
  }
}

/** What connecting to a socket on which nobody listens fails with. */
const NOBODY: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED'])

const localError = (error: NodeJS.ErrnoException, socket: string): VarveError => {
  const { code = '', message } = error
  if (code === 'EACCES' || code === 'EPERM')
    return new VarveError('CONFIG_INVALID', `the gateway of ${socket} runs as another user: run this as that one`, {
      cause: error,
    })
  return new VarveError(
    'CONNECTION_LOST',
    `the gateway of ${socket} broke the connection off (${code || message}): try again`,
    {
      cause: error,
    },
  )
}

/**
 * Opens a session of a tenant, or for null the platform's, over a gateway's local socket; null where nobody listens. Refusals come with their code;
 * HELLO_TIMEOUT and CONNECTION_LOST where it ends before it has begun, as it does when the gateway stops; CONFIG_INVALID where another user's gateway listens.
 */
export const dialLocal = async (options: {
  readonly socketPath: string
  readonly tenant: string | null
  readonly program: string
  readonly clock: Clock
}): Promise<Session | null> => {
  const { socketPath, tenant, program, clock } = options
  const socket = new WebSocket(`ws://localhost${RPC_PATH}`, SUBPROTOCOL, {
    createConnection: () => createConnection({ path: socketPath }),
    headers: tenant === null ? {} : { [TENANT_HEADER]: tenant },
    maxPayload: FRAME_BYTES_MAX,
    perMessageDeflate: false,
  })
  const { promise: refused, resolve, reject } = Promise.withResolvers<null>()
  refused.catch(() => {})
  socket.on('error', (error: NodeJS.ErrnoException) =>
    NOBODY.has(error.code ?? '') ? resolve(null) : reject(localError(error, socketPath)),
  )
  socket.on('unexpected-response', (_request, response) => {
    void refusal(response)
      .then(reject)
      .finally(() => socket.terminate())
  })
  const opened = openSession({ socket, program, serving: false, token: null, handlers: {}, clock })
  opened.catch(() => {})
  return await Promise.race([refused, opened])
}

/** The error of a refused upgrade: the gateway answers with a code and a sentence as JSON. */
const refusal = async (response: IncomingMessage): Promise<VarveError> => {
  let text = ''
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      text += part.toString('utf8')
      if (text.length > REFUSAL_BYTES_MAX) break
    }
    const { code, message } = JSON.parse(text) as { code: unknown; message: unknown }
    if (typeof code === 'string' && typeof message === 'string') return toldError(code, message)
  } catch {
    // cut short, or not our gateway's words; the status alone must do
  }
  return new VarveError('CONNECTION_LOST', `the gateway answered HTTP ${response.statusCode}: try again`)
}
