// The socket beside the catalog: sessions of the gateway's own user, for the commands, without a token.
import { chmod, lstat, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { Socket } from 'node:net'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { SocketPath } from '../../protocol/host/socket-path.ts'
import type { SessionParts } from '../session/connection.ts'
import { localListenError } from './listen-error.ts'
import { Sockets } from '../session/socket.ts'

export const SOCKET_NAME = 'gateway.sock'

/** Only the gateway's own user may connect. */
const SOCKET_MODE = 0o600

/** Connections open at once; further ones are refused. */
const CONNECTIONS_MAX = 64

/** How long a client may take to send its request, and connections to end when the server stops, in milliseconds. */
const REQUEST_TIMEOUT_MS = 15_000
const STOP_TIMEOUT_MS = 3000

/** A listening local socket; the store lock must be held, so an existing socket is stale. */
export class LocalServer implements AsyncDisposable {
  /** Where it listens, as `unix:` and the path. */
  readonly url: string
  readonly #server: Server
  readonly #sockets: Sockets
  readonly #path: SocketPath
  readonly #open = new Set<Socket>()

  private constructor(server: Server, sockets: Sockets, socketPath: SocketPath, url: string) {
    this.#server = server
    this.#sockets = sockets
    this.#path = socketPath
    this.url = url
    server.on('connection', (socket: Socket) => {
      this.#open.add(socket)
      socket.once('close', () => this.#open.delete(socket))
    })
    server.on('upgrade', (request, socket, head) => void sockets.upgrade(request, socket, head))
    server.on('request', (_request, response) => response.writeHead(404, { connection: 'close' }).end())
  }

  /** Listens in the data folder; CONFIG_INVALID. */
  static async listen(parts: SessionParts, folder: string): Promise<LocalServer> {
    await using resources = new AsyncDisposableStack()
    const socketPath = resources.use(await SocketPath.of(folder, SOCKET_NAME))
    const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS })
    server.maxConnections = CONNECTIONS_MAX
    const found = await lstat(socketPath.path).catch(() => null)
    // a file with content is not ours to remove
    if (found !== null && (found.isDirectory() || (found.isFile() && found.size > 0)))
      throw new VarveError('CONFIG_INVALID', `${SOCKET_NAME} in ${folder} is not a socket: move it away`)
    await rm(socketPath.path, { force: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(localListenError(path.join(path.resolve(folder), SOCKET_NAME), error)))
      server.listen(socketPath.path, resolve)
    })
    resources.defer(() => void server.close())
    await chmod(socketPath.path, SOCKET_MODE)
    resources.move()
    const url = `unix:${path.join(path.resolve(folder), SOCKET_NAME)}`
    return new LocalServer(server, new Sockets(parts, 'local'), socketPath, url)
  }

  /** Ends every session with GOING_AWAY, stops listening and removes the socket. */
  async [Symbol.asyncDispose](): Promise<void> {
    // closing the server removes the socket's file
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#sockets.end(new VarveError('GOING_AWAY', 'the gateway is stopping'))
    this.#server.closeIdleConnections()
    const timer = setTimeout(() => {
      for (const socket of this.#open) socket.destroy()
    }, STOP_TIMEOUT_MS)
    await closed
    clearTimeout(timer)
    await this.#path[Symbol.asyncDispose]()
  }
}
