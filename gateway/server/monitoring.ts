// The paths for monitoring: /healthz for everybody, /readyz with details for whom it concerns, /metrics with a token or on a
// loopback listener of its own.
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { VarveError } from '../../protocol/errors.ts'
import { isMeantForLoopback } from '../../protocol/host/meant-host.ts'
import { formatFor, OPENMETRICS, plainOf } from '../../protocol/host/metrics-format.ts'
import type { Readiness } from '../metrics/health.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { listenError } from './listen-error.ts'

/** How long a client of the own listener may take to send its request, in milliseconds, and how many may be connected. */
const REQUEST_TIMEOUT_MS = 15_000
const CONNECTIONS_MAX = 64

/** How long a client of the own listener may neither send nor take anything, in milliseconds. */
const IDLE_TIMEOUT_MS = 30_000

/** Headers that a proxy adds: what comes from this host is not of this host then. */
const PROXY_HEADERS = ['forwarded', 'via', 'x-forwarded-for', 'x-real-ip']

/** Where the metrics have a listener of their own: a loopback address. */
export interface MetricsListen {
  readonly host: string
  readonly port: number
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

const isLocal = ({ socket, headers }: IncomingMessage): boolean => {
  const address = (socket.remoteAddress ?? '').replace(/^::ffff:/u, '')
  const isLoopback = address === '::1' || address.startsWith('127.')
  return isLoopback && PROXY_HEADERS.every((name) => headers[name] === undefined)
}

const answer = (response: ServerResponse, status: number, type: string, body: string): void => {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
  response.end(body)
}

const json = (response: ServerResponse, status: number, value: unknown): void =>
  answer(response, status, 'application/json', JSON.stringify(value))

export interface MonitoringOptions {
  /** Null where there are none. */
  readonly metrics: Metrics | null
  readonly readiness: Readiness
  /** Whoever knows it may read the metrics on the main port; null for nobody. */
  readonly token: string | null
}

export class Monitoring {
  readonly #options: MonitoringOptions
  readonly #token: Buffer | null

  constructor(options: MonitoringOptions) {
    this.#options = options
    this.#token = options.token === null ? null : digest(options.token)
  }

  /** Answers a request of the main port; false where it is for none of these paths. TOKEN_SIGNATURE, TOKEN_MISSING. */
  async answer(route: string, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    if (route === 'GET /healthz') json(response, 200, { status: 'ok' })
    else if (route === 'GET /readyz') await this.#ready(response, isLocal(request) || this.#knows(request))
    else if (route === 'GET /metrics' && this.#options.metrics !== null && this.#token !== null) {
      this.#admit(request)
      await this.#give(this.#options.metrics, request, response)
    } else return false
    return true
  }

  /** Answers a request of the own listener, where no token is asked for; false where it is for none of these paths. */
  async answerLocal(route: string, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    if (route === 'GET /healthz') json(response, 200, { status: 'ok' })
    else if (route === 'GET /readyz') await this.#ready(response, true)
    else if (route === 'GET /metrics' && this.#options.metrics !== null)
      await this.#give(this.#options.metrics, request, response)
    else return false
    return true
  }

  async #ready(response: ServerResponse, inDetail: boolean): Promise<void> {
    const { ready, checks } = await this.#options.readiness.look()
    const status = ready ? 'ready' : 'not ready'
    json(response, ready ? 200 : 503, inDetail ? { status, checks } : { status })
  }

  async #give(metrics: Metrics, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await metrics.text()
    const format = formatFor(request.headers.accept)
    answer(response, 200, format, format === OPENMETRICS ? text : plainOf(text))
  }

  /** The secret of the Authorization header; null where there is none. */
  #bearer({ headers }: IncomingMessage): string | null {
    return /^Bearer +(\S+) *$/iu.exec(headers.authorization ?? '')?.[1] ?? null
  }

  #knows(request: IncomingMessage): boolean {
    const given = this.#bearer(request)
    return given !== null && this.#token !== null && timingSafeEqual(digest(given), this.#token)
  }

  #admit(request: IncomingMessage): void {
    if (this.#knows(request)) return
    const isGiven = this.#bearer(request) !== null
    throw new VarveError(isGiven ? 'TOKEN_SIGNATURE' : 'TOKEN_MISSING', 'not without the token of the metrics')
  }
}

/** The listener of its own; it serves nothing else. */
export class MonitoringServer implements AsyncDisposable {
  readonly #server: Server
  readonly url: string

  private constructor(server: Server, url: string) {
    this.#server = server
    this.url = url
  }

  /** CONFIG_INVALID where the address cannot be had. */
  static async listen(
    monitoring: Monitoring,
    { host, port }: MetricsListen,
    idleMs = IDLE_TIMEOUT_MS,
  ): Promise<MonitoringServer> {
    const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS })
    server.maxConnections = CONNECTIONS_MAX
    server.timeout = idleMs
    server.on('request', (request, response) => {
      if (!isMeantForLoopback(request.headers.host))
        return json(response, 421, { code: 'NOT_FOUND', message: 'ask for it by its address, or as localhost' })
      const route = `${request.method} ${request.url?.split('?', 1)[0] ?? ''}`
      monitoring.answerLocal(route, request, response).then(
        (found) => (found ? null : json(response, 404, { code: 'NOT_FOUND', message: 'there is no such path here' })),
        () => json(response, 500, { code: 'INTERNAL', message: 'the metrics could not be made' }),
      )
    })
    const where = host.includes(':') ? `[${host}]` : host
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenError(`${where}:${port}`, error)))
      server.listen(port, host, resolve)
    })
    return new MonitoringServer(server, `http://${where}:${(server.address() as AddressInfo).port}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }
}
