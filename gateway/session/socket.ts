// WebSockets of the gateway: the upgrade, its limits, and the bytes between a socket and a connection.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocket, WebSocketServer } from 'ws'
import { asVarveError, ERRORS, VarveError } from '../../protocol/errors.ts'
import type { Claims } from '../../protocol/claims.ts'
import { CLOSE_ERROR, CLOSE_NORMAL } from '../../protocol/client.ts'
import { FRAME_BYTES_MAX, RPC_PATH, SUBPROTOCOL } from '../../protocol/limits.ts'
import { freeBytes } from '../../protocol/memory.ts'
import type { Transport } from '../../protocol/peer.ts'
import { verifyBearer } from '../auth/verify.ts'
import { Connection } from './connection.ts'
import { outward, type Services } from './context.ts'

/** How long a closing socket may take before it is cut, in milliseconds. */
const CLOSE_TIMEOUT_MS = 2000

/** The close code of an error and the words that go with it (at most 123 bytes by RFC 6455). */
const closeSocket = (socket: WebSocket, error: VarveError): void => {
  socket.close(error.code === 'CANCELLED' ? CLOSE_NORMAL : CLOSE_ERROR, error.code)
  setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS).unref()
}

const transportOf = (socket: WebSocket): Transport => ({
  send: (bytes) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(bytes, () => freeBytes(bytes))
  },
  close: (error) => closeSocket(socket, error),
  get bufferedBytes() {
    return socket.bufferedAmount
  },
})

const refuseUpgrade = (socket: Duplex, error: VarveError): void => {
  const body = JSON.stringify({ code: error.code, message: error.message })
  const { http } = ERRORS[error.code]
  // a client that never closes its side must not keep the socket
  socket.once('finish', () => socket.destroy())
  socket.end(
    `HTTP/1.1 ${http} ${error.code}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}

/** The path of a request's target, whatever it is; the empty path where it has none. */
export const pathOf = ({ url }: IncomingMessage): string => url?.split('?', 1)[0] ?? ''

const bearerOf = (request: IncomingMessage): string | null => {
  const { authorization } = request.headers
  if (authorization === undefined) return null
  const token = /^Bearer ([^\s]+)$/iu.exec(authorization)?.[1]
  if (token === undefined) throw new VarveError('TOKEN_MALFORMED', 'the Authorization header is not a bearer token')
  return token
}

export class Sockets {
  readonly #services: Services
  readonly #server = new WebSocketServer({
    noServer: true,
    maxPayload: FRAME_BYTES_MAX,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  })
  readonly #connections = new Set<Connection>()
  #ended: VarveError | null = null

  constructor(services: Services) {
    this.#services = services
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
      refuseUpgrade(socket, outward(error))
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
    const timeMs = this.#services.clock.now()
    const address = request.socket.remoteAddress ?? ''
    return this.#services.audit.guard({ action: 'connect', address, timeMs }, async () => {
      const token = bearerOf(request)
      return token === null ? null : verifyBearer(this.#services.authority, token, timeMs)
    })
  }

  #connect(socket: WebSocket, request: IncomingMessage, claims: Claims | null): void {
    const connection = new Connection({
      services: this.#services,
      transport: transportOf(socket),
      claims,
      address: request.socket.remoteAddress ?? '',
    })
    this.#connections.add(connection)
    socket.on('message', (data, isBinary) => {
      if (!isBinary) return connection.end(new VarveError('FRAME_INVALID', 'a text message came; frames are binary'))
      // `nodebuffer` is the default binary type
      connection.receive(data as Buffer)
    })
    // a payload past the limit is reported here, after ws has sent close code 1009
    socket.on('error', (error) =>
      this.#services.log.info({ err: error, address: request.socket.remoteAddress }, 'a socket failed'),
    )
    socket.on('close', () => {
      this.#connections.delete(connection)
      connection.closed()
    })
  }
}
