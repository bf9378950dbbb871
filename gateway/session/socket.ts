// WebSockets of the gateway: the upgrade, its limits, and the bytes between a socket and a connection.
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocket, WebSocketServer } from 'ws'
import { asVarveError, ERRORS, VarveError } from '../../protocol/errors.ts'
import type { Claims } from '../../protocol/claims.ts'
import { CLOSE_ERROR, CLOSE_NORMAL } from '../../protocol/client.ts'
import { Intake } from '../../protocol/host/intake.ts'
import { FRAME_BYTES_MAX, RPC_PATH, SUBPROTOCOL } from '../../protocol/limits.ts'
import { outward } from '../service/outward.ts'
import { Connection, type SessionParts } from './connection.ts'
import { SocketTransport } from './transport.ts'

/** How long a closing socket may take before it is cut, in milliseconds. */
const CLOSE_TIMEOUT_MS = 2000

/** Names the tenant of a session on the local socket; without it the session is the platform's. */
export const TENANT_HEADER = 'x-varve-tenant'

/** Whom an upgrade admits: bearers of a token, or everybody on a socket that only the gateway's own user can open. */
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

// on its own: beside others its function would keep all that they have, such as the request's headers
const destroyOnError = (socket: Duplex): void => void socket.on('error', () => socket.destroy())

/** A refusal carries this gateway's time: a token may be refused because its host's clock is wrong. */
const refuseUpgrade = (socket: Duplex, error: VarveError, nowMs: number): void => {
  const body = JSON.stringify({ code: error.code, message: error.message })
  const { http } = ERRORS[error.code]
  // a client that never closes its side must not hold the socket
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

/** What a WebSocket began with. */
interface Opening {
  readonly raw: Socket
  readonly address: string
  readonly claims: Claims | null
}

export class Sockets {
  readonly #parts: SessionParts
  readonly #admission: Admission
  readonly #onKnown: (request: IncomingMessage) => void
  readonly #server = new WebSocketServer({
    noServer: true,
    maxPayload: FRAME_BYTES_MAX,
    perMessageDeflate: false,
    // a peer that reads nothing could make any number of pongs wait
    autoPong: false,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  })
  readonly #connections = new Set<Connection>()
  #ended: VarveError | null = null

  /** `onKnown` is called for connections whose other side is authenticated. */
  constructor(parts: SessionParts, admission: Admission, onKnown: (request: IncomingMessage) => void = () => {}) {
    this.#parts = parts
    this.#onKnown = onKnown
    this.#admission = admission
    this.#server.on('headers', (headers) => headers.push(`Date: ${new Date(parts.clock.now()).toUTCString()}`))
  }

  /** Answers an HTTP upgrade: a WebSocket, or an HTTP error with a code. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    destroyOnError(socket)
    try {
      const claims = await this.#admit(request)
      if (this.#ended !== null) throw this.#ended
      this.#server.handleUpgrade(request, socket, head, (webSocket) => {
        const opening = { raw: request.socket, address: addressOf(request), claims }
        this.#connect(webSocket, opening, () => this.#onKnown(request))
      })
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code === 'INTERNAL') this.#parts.log.error({ err: thrown }, 'an upgrade failed')
      refuseUpgrade(socket, outward(error), this.#parts.clock.now())
    }
  }

  /** Ends every connection with this reason and refuses further ones with it. */
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

  /** What stays for the life of the connection holds nothing of the request that began it. */
  #connect(socket: WebSocket, { raw, address, claims }: Opening, onKnown: () => void): void {
    const transport = transportOf(socket)
    const connection = new Connection({ parts: this.#parts, transport, claims, address, onKnown })
    this.#connections.add(connection)
    let stopPause: (() => void) | null = null
    const pause = (ms: number): void => {
      stopPause?.()
      socket.pause()
      stopPause = this.#parts.clock.after(ms, () => socket.resume())
    }
    const receive = (bytes: Buffer): void => {
      connection.receive(bytes)
      const pauseMs = connection.pauseMs(bytes)
      if (pauseMs > 0) pause(pauseMs)
    }
    // the WebSocket's own, which buffers what comes
    const library = raw.listeners('data')
    const intake = new Intake(
      { masked: true, trusted: false },
      {
        announced: (bytes) => connection.announced(bytes),
        whole: () => connection.whole(),
        gathered: receive,
        rest: (bytes) => {
          for (const listener of library) listener.call(raw, bytes)
        },
        get open() {
          return socket.readyState === WebSocket.OPEN
        },
      },
    )
    const take = (bytes: Buffer<ArrayBuffer>): void => {
      const error = intake.feed(bytes)
      if (error === null) return
      // nothing more is buffered while the connection ends
      raw.off('data', take)
      stopPause?.()
      connection.end(error)
      socket.pause()
    }
    raw.removeAllListeners('data')
    raw.on('data', take)
    // what was not read yet is dropped: the WebSocket's own listener would take it past the intake
    raw.prependListener('close', () => void raw.read())
    socket.on('ping', (data) => transport.pong(data))
    socket.on('message', (data, isBinary) => {
      if (!isBinary) return connection.end(new VarveError('FRAME_INVALID', 'a text message came; frames are binary'))
      // `nodebuffer` is the default binary type
      receive(data as Buffer)
    })
    // a payload past the limit is reported here, after ws has sent close code 1009
    socket.on('error', (error) => {
      // the library takes nothing any more: the rest flows away until the other side ends, too
      raw.off('data', take)
      this.#parts.log.info({ err: error, address }, 'a socket failed')
    })
    socket.on('close', () => {
      this.#connections.delete(connection)
      stopPause?.()
      connection.closed()
    })
  }
}
