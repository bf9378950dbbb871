// Where a running agent tells its state: a socket in its state folder for commands, and a loopback port for metrics where one is
// configured.
import { chmod, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { VarveError } from '../../protocol/errors.ts'
import { isMeantForLoopback } from '../../protocol/host/meant-host.ts'
import { formatFor, OPENMETRICS, plainOf } from '../../protocol/host/metrics-format.ts'
import { SocketPath } from '../../protocol/host/socket-path.ts'
import { agentMetrics } from './agent-metrics.ts'
import type { AgentStatus } from './agent-status.ts'

export const STATUS_SOCKET = 'agent.sock'

/** How long a client may take to send its request, in milliseconds, and how many may be connected. */
const REQUEST_TIMEOUT_MS = 5000
const CONNECTIONS_MAX = 16

/** How long a client may neither send nor take anything, in milliseconds. */
const IDLE_TIMEOUT_MS = 30_000

type Answer = (request: IncomingMessage) => Promise<{ readonly type: string; readonly body: string }>

const end = (response: ServerResponse, status: number, type: string, body: string): void => {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body)
}

/** A server that answers GET requests for these paths, and nothing else. */
const serverOf = (paths: Readonly<Record<string, Answer>>): Server => {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS })
  server.maxConnections = CONNECTIONS_MAX
  server.timeout = IDLE_TIMEOUT_MS
  server.on('request', (request, response) => {
    if (!isMeantForLoopback(request.headers.host))
      return end(response, 421, 'text/plain', 'ask for it by its address, or as localhost\n')
    const path = request.url?.split('?', 1)[0] ?? ''
    const answer = request.method === 'GET' && Object.hasOwn(paths, path) ? paths[path] : undefined
    if (answer === undefined) return end(response, 404, 'text/plain', 'there is no such path here\n')
    answer(request).then(
      ({ type, body }) => end(response, 200, type, body),
      () => end(response, 500, 'text/plain', 'the state could not be made\n'),
    )
  })
  return server
}

const closed = async (server: Server): Promise<void> => {
  const over = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeAllConnections()
  await over
}

/** Answers `/status` on the socket of the state folder, to the agent's own user only. */
export const serveStatus = async (stateFolder: string, look: () => Promise<AgentStatus>): Promise<AsyncDisposable> => {
  await using resources = new AsyncDisposableStack()
  const socket = resources.use(await SocketPath.of(stateFolder, STATUS_SOCKET))
  const server = serverOf({
    '/status': async () => ({ type: 'application/json', body: JSON.stringify(await look()) }),
  })
  // the state folder is locked, so one that is there is stale
  await rm(socket.path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(socket.path, resolve)
  })
  // which also removes the socket
  resources.defer(() => closed(server))
  await chmod(socket.path, 0o600)
  return resources.move()
}

/** Where the metrics are served. */
export interface MetricsListen {
  readonly host: string
  readonly port: number
}

export interface MetricsPort extends AsyncDisposable {
  readonly url: string
}

/** Answers `/metrics` on a loopback address; CONFIG_INVALID where that cannot be had. */
export const serveMetrics = async (
  { host, port }: MetricsListen,
  look: () => Promise<AgentStatus>,
): Promise<MetricsPort> => {
  const server = serverOf({
    '/metrics': async ({ headers }) => {
      const text = await agentMetrics(await look())
      const type = formatFor(headers.accept)
      return { type, body: type === OPENMETRICS ? text : plainOf(text) }
    },
  })
  const where = host.includes(':') ? `[${host}]` : host
  await new Promise<void>((resolve, reject) => {
    server.once('error', ({ message }) =>
      reject(
        new VarveError('CONFIG_INVALID', `cannot listen on ${where}:${port} for metrics (metrics_listen): ${message}`),
      ),
    )
    server.listen(port, host, resolve)
  })
  const url = `http://${where}:${(server.address() as AddressInfo).port}`
  return { url, [Symbol.asyncDispose]: () => closed(server) }
}
