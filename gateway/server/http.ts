// The one port: the console, health and metrics, public keys, enrolment, and the upgrade to the WebSocket.
import {
  createServer as createHttpServer,
  setMaxIdleHTTPParsers,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer, Server as HttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import * as v from 'valibot'
import { asVarveError, ERRORS, VarveError } from '../../protocol/errors.ts'
import { TOKEN_CHARS_MAX } from '../../protocol/limits.ts'
import { misfit } from '../../protocol/misfit.ts'
import { HOST_CHARS_MAX } from '../auth/tokens.ts'
import { hostNamed, type Certificate } from './certificate.ts'
import type { Console } from './console.ts'
import { outward } from '../service/outward.ts'
import type { SessionParts } from '../session/connection.ts'
import { listenError } from './listen-error.ts'
import type { Monitoring } from './monitoring.ts'
import { pathOf, Sockets } from '../session/socket.ts'
import { Strangers } from '../session/strangers.ts'

/** Largest body of a request, in bytes. */
export const BODY_BYTES_MAX = 16 * 1024

/** How long a client may take over TLS, and over its request's headers and body, in milliseconds. */
export const REQUEST_TIMEOUT_MS = 15_000

/** The oldest TLS that is spoken. */
const TLS_VERSION_MIN = 'TLSv1.2'

/** How long connections may take to end by themselves when the server stops, in milliseconds. */
const STOP_TIMEOUT_MS = 3000

/** Connections open at once, sessions included; further ones are refused. */
export const CONNECTIONS_MAX = 25_000

/** Parsers of requests that are kept for the next ones; Node's 1,000 would stay once so many agents came at once, 10 KB each. */
const PARSERS_KEPT = 16

const enrolBody = v.object({
  token: v.pipe(v.string(), v.maxLength(TOKEN_CHARS_MAX)),
  publicKey: v.pipe(v.string(), v.maxLength(128)),
  host: v.pipe(v.string(), v.maxLength(HOST_CHARS_MAX)),
})

export interface Listen {
  readonly host: string
  readonly port: number
  readonly tls: Certificate | null
}

const json = (response: ServerResponse, status: number, value: unknown): void => {
  // after an error part of the request may be unread and must not be parsed as the next one
  const connection = status === 200 ? {} : { connection: 'close' }
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...connection })
  response.end(JSON.stringify(value))
}

const readBody = async (request: IncomingMessage): Promise<unknown> => {
  const parts: Buffer[] = []
  let bytes = 0
  try {
    // the socket is needed for the answer, also where reading ends early
    for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += part.length
      if (bytes > BODY_BYTES_MAX) throw new VarveError('FRAME_TOO_LARGE', 'the request is too large')
      parts.push(part)
    }
  } catch (thrown) {
    if (thrown instanceof VarveError) throw thrown
    throw new VarveError('CONNECTION_LOST', 'the request was not sent whole', { cause: thrown })
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8')) as unknown
  } catch {
    throw new VarveError('PARAMS_INVALID', 'the request is not JSON')
  }
}

/** What the port serves. */
export interface HttpParts {
  readonly session: SessionParts
  readonly monitoring: Monitoring
  readonly console: Console
}

/** A listening gateway port. */
export class HttpServer implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets: Sockets
  readonly #parts: SessionParts
  readonly #monitoring: Monitoring
  readonly #console: Console
  /** Every connection, also those that have sent nothing yet. */
  readonly #open = new Set<Socket>()
  readonly url: string
  /** What it serves, in PEM; null without TLS. */
  certificate: Uint8Array | null = null

  /** The address of the console; a port on every address of the host is named by its certificate, where that has a name. */
  get page(): string {
    const page = new URL(this.url.replace(/^ws/u, 'http'))
    const name = this.certificate === null ? null : hostNamed(this.certificate)
    if (name !== null && ['0.0.0.0', '[::]'].includes(page.hostname)) page.hostname = name
    return page.href
  }

  private constructor(server: Server, sockets: Sockets, strangers: Strangers, parts: HttpParts, url: string) {
    this.#server = server
    this.#sockets = sockets
    this.#parts = parts.session
    this.#monitoring = parts.monitoring
    this.#console = parts.console
    this.url = url
    server.on('connection', (socket: Socket) => {
      this.#open.add(socket)
      strangers.add(socket)
      socket.once('close', () => this.#open.delete(socket))
    })
  }

  static async listen(parts: HttpParts, { host, port, tls }: Listen): Promise<HttpServer> {
    const strangers = new Strangers()
    const sockets = new Sockets(parts.session, 'token', ({ socket }) => strangers.known(socket))
    const handshakeTimeout = REQUEST_TIMEOUT_MS
    const server =
      tls === null ? createHttpServer() : createHttpsServer({ ...tls, minVersion: TLS_VERSION_MIN, handshakeTimeout })
    setMaxIdleHTTPParsers(PARSERS_KEPT)
    server.requestTimeout = REQUEST_TIMEOUT_MS
    server.headersTimeout = REQUEST_TIMEOUT_MS
    server.maxConnections = CONNECTIONS_MAX
    await new Promise<void>((resolve, reject) => {
      const where = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
      server.once('error', (error) => reject(listenError(where, error)))
      server.listen(port, host, resolve)
    })
    const address = server.address() as AddressInfo
    const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address
    const http = new HttpServer(
      server,
      sockets,
      strangers,
      parts,
      `${tls === null ? 'ws' : 'wss'}://${shown}:${address.port}`,
    )
    http.certificate = tls?.cert ?? null
    server.on('request', (request, response) => void http.#answer(request, response))
    server.on('upgrade', (request, socket, head) => void sockets.upgrade(request, socket, head))
    return http
  }

  /** Serves another certificate from the next connection on; those that are open stay. */
  setCertificate({ cert, key }: Certificate): void {
    this.certificate = cert
    if (this.#server instanceof HttpsServer) this.#server.setSecureContext({ cert, key, minVersion: TLS_VERSION_MIN })
  }

  /** Ends every connection with GOING_AWAY and stops listening. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#sockets.end(new VarveError('GOING_AWAY', 'the gateway is stopping; uploads go on when it is back'))
    this.#server.closeIdleConnections()
    const timer = setTimeout(() => {
      for (const socket of this.#open) socket.destroy()
    }, STOP_TIMEOUT_MS)
    await closed
    clearTimeout(timer)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { method = '' } = request
      const pathname = pathOf(request)
      const route = `${method} ${pathname}`
      if (await this.#console.answer(method, pathname, request, response)) return
      if (await this.#monitoring.answer(route, request, response)) return
      if (route === 'GET /.well-known/jwks.json') return json(response, 200, this.#parts.admission.jwks())
      if (route === 'POST /enrol') return json(response, 200, await this.#enrol(request))
      throw new VarveError('NOT_FOUND', `there is no ${route.slice(0, 200)} here`)
    } catch (thrown) {
      const { code, message } = outward(asVarveError(thrown))
      if (code === 'INTERNAL') this.#parts.log.error({ err: thrown }, 'a request failed')
      json(response, ERRORS[code].http, { code, message })
    }
  }

  async #enrol(request: IncomingMessage): Promise<object> {
    const parsed = v.safeParse(enrolBody, await readBody(request))
    if (!parsed.success) throw new VarveError('PARAMS_INVALID', `enrolment: ${misfit(enrolBody, parsed.issues)}`)
    return this.#parts.admission.enrol(parsed.output, request.socket.remoteAddress ?? '')
  }
}
