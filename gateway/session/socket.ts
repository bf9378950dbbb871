// WebSockets of the gateway: the upgrade, its limits, and the bytes between a socket and a connection.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocket, WebSocketServer } from 'ws'
import { asVarveError, ERRORS, VarveError } from '../../protocol/errors.ts'
import { NO_TOKEN, type Claims } from '../../protocol/claims.ts'
import { CLOSE_ERROR, CLOSE_NORMAL } from '../../protocol/client.ts'
import { FRAME_BYTES_MAX, RPC_PATH, SUBPROTOCOL } from '../../protocol/limits.ts'
import { LOCAL_ADMINISTRATOR } from '../auth/tokens.ts'
import { verifyBearer } from '../auth/bearer.ts'
import { Connection } from './connection.ts'
import { Intake } from './intake.ts'
import { SocketTransport } from './transport.ts'
import { outward, type Services } from './context.ts'

/** How long a closing socket may take before it is cut, in milliseconds. */
const CLOSE_TIMEOUT_MS = 2000

/** Names the tenant of a session on the local socket. */
export const TENANT_HEADER = 'x-varve-tenant'

/** How long a session on the local socket lasts, in seconds: longer than any work. */
const LOCAL_LIFE_S = 366 * 24 * 60 * 60

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

const bearerOf = (request: IncomingMessage): string | null => {
  const { authorization } = request.headers
  if (authorization === undefined) return null
  const token = /^Bearer ([^\s]+)$/iu.exec(authorization)?.[1]
  if (token === undefined) throw new VarveError('TOKEN_MALFORMED', 'the Authorization header is not a bearer token')
  return token
}

export class Sockets {
  readonly #services: Services
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
  constructor(services: Services, admission: Admission, onKnown: (request: IncomingMessage) => void = () => {}) {
    this.#services = services
    this.#onKnown = onKnown
    this.#admission = admission
    this.#server.on('headers', (headers) => headers.push(`Date: ${new Date(services.clock.now()).toUTCString()}`))
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
      if (error.code === 'INTERNAL') this.#services.log.error({ err: thrown }, 'an upgrade failed')
      refuseUpgrade(socket, outward(error), this.#services.clock.now())
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
    if (this.#admission === 'local') return this.#localClaims(request)
    const timeMs = this.#services.clock.now()
    const address = addressOf(request)
    return this.#services.audit.guard({ action: 'connect', address, timeMs }, async () => {
      const token = bearerOf(request)
      return token === null ? null : verifyBearer(this.#services.authority, token, timeMs)
    })
  }

  /** Whoever can open the local socket can read the signing keys beside it, so no token is asked for. */
  async #localClaims(request: IncomingMessage): Promise<Claims> {
    const { authority, datastore, clock } = this.#services
    const name = String(request.headers[TENANT_HEADER] ?? '')
    const tenant = await datastore.catalog.tenants.named({ name })
    return {
      issuer: authority.issuer,
      audience: authority.issuer,
      tenant: tenant.uuid,
      tenantName: tenant.name,
      subject: LOCAL_ADMINISTRATOR.subject,
      role: 'owner',
      expiresAt: Math.floor(clock.now() / 1000) + LOCAL_LIFE_S,
      tokenId: NO_TOKEN,
    }
  }

  #connect(socket: WebSocket, request: IncomingMessage, claims: Claims | null): void {
    const transport = transportOf(socket)
    const connection = new Connection({
      services: this.#services,
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
      stopPause = this.#services.clock.after(ms, () => socket.resume())
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
    socket.on('error', (error) =>
      this.#services.log.info({ err: error, address: addressOf(request) }, 'a socket failed'),
    )
    socket.on('close', () => {
      this.#connections.delete(connection)
      stopPause?.()
      connection.closed()
    })
  }
}
