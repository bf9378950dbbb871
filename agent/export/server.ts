// The socket on which disks are exported: takes over what a dead export left, refuses what a live one has, bounds its clients.
import { access, constants, lstat, rm } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { fileError } from '../../protocol/host/file-error.ts'
import { SocketPath } from '../../protocol/host/socket-path.ts'
import { ClientConnection, type ClientOptions } from './connection.ts'

/** Clients at once; a further connection is closed. */
export const CLIENTS_MAX = 32

/** How much may wait for the kernel to take, in bytes, before what follows waits. */
const SEND_BYTES = 1024 * 1024

/** How long another program may take to accept a connection before its socket counts as live, in milliseconds. */
const PROBE_MS = 2000

/** Where an export listens. */
export type Listen =
  | { readonly socket: string }
  /** A port of 0 is a free one. */
  | { readonly host: string; readonly port: number }

export interface ServerOptions extends ClientOptions {
  readonly listen: Listen
  /** Told how many clients there are, whenever one comes or goes. */
  readonly onClients: (count: number) => void
}

/** Whether a program listens on a socket that is there. */
const isLive = (file: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(file)
    const end = (live: boolean): void => {
      socket.destroy()
      resolve(live)
    }
    socket.once('connect', () => end(true))
    socket.once('error', ({ code }: NodeJS.ErrnoException) => end(code !== 'ECONNREFUSED' && code !== 'ENOENT'))
    socket.setTimeout(PROBE_MS, () => end(true))
  })

/** Removes what a dead export left; EXISTS for anything else. */
const clearSocket = async (named: string, file: string): Promise<void> => {
  const found = await lstat(file).catch(() => null)
  if (found === null) return
  if (!found.isSocket()) throw new VarveError('EXISTS', `${named} is there and is not a socket: name another --socket`)
  if (await isLive(file))
    throw new VarveError('EXISTS', `another program listens on ${named}: end it, or name another --socket`)
  await rm(file, { force: true })
}

const listening = (server: Server, where: string, listen: (server: Server) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', ({ message }) =>
      reject(new VarveError('PARAMS_INVALID', `cannot listen on ${where}: ${message}`)),
    )
    server.once('listening', resolve)
    listen(server)
  })

export class ExportServer implements AsyncDisposable {
  /** An address that NBD clients take, without an export's name. */
  readonly uri: string
  readonly #resources: AsyncDisposable

  private constructor(uri: string, resources: AsyncDisposable) {
    this.uri = uri
    this.#resources = resources
  }

  /** EXISTS where another program listens there; CONFIG_INVALID, PARAMS_INVALID where nobody can. */
  static async open(options: ServerOptions): Promise<ExportServer> {
    const { listen, onClients } = options
    const clients = new Map<Socket, Promise<void>>()
    const server = createServer({ highWaterMark: SEND_BYTES, noDelay: true }, (socket) => {
      if (clients.size >= CLIENTS_MAX) {
        socket.destroy()
        return
      }
      const over = new ClientConnection(socket, options).run()
      clients.set(socket, over)
      onClients(clients.size)
      void over.finally(() => {
        clients.delete(socket)
        onClients(clients.size)
      })
    })
    await using resources = new AsyncDisposableStack()
    const close = async (): Promise<void> => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of clients.keys()) socket.destroy()
      await Promise.allSettled(clients.values())
      await closed
    }
    if ('socket' in listen) {
      const named = path.resolve(listen.socket)
      const folder = path.dirname(named)
      // the system's own error for a socket names neither
      await access(folder, constants.W_OK).catch((thrown: unknown) => {
        throw fileError(folder, thrown)
      })
      const at = resources.use(await SocketPath.of(folder, path.basename(named)))
      await clearSocket(named, at.path)
      await listening(server, named, (one) => {
        // the socket is made before this returns, never open to others
        const before = process.umask(0o177)
        try {
          one.listen(at.path)
        } finally {
          process.umask(before)
        }
      })
      // which also removes the socket
      resources.defer(close)
      return new ExportServer(`nbd+unix:///?socket=${encodeURIComponent(named)}`, resources.move())
    }
    const where = listen.host.includes(':') ? `[${listen.host}]` : listen.host
    await listening(server, `${where}:${listen.port}`, (one) => one.listen(listen.port, listen.host))
    resources.defer(close)
    return new ExportServer(`nbd://${where}:${(server.address() as AddressInfo).port}/`, resources.move())
  }

  /** The address of one export. */
  uriOf(name: string): string {
    return this.uri.replace('///', `///${encodeURIComponent(name)}`).replace(/\/$/u, `/${encodeURIComponent(name)}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]()
  }
}
