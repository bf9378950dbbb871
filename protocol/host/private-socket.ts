// Unix sockets that only their own user may reach.
import { rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { SocketPath } from './socket-path.ts'

/** Listens on a socket that is never open to others, not even for a moment. */
export const listenPrivately = (server: Server, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject)
    // the socket is made before this returns
    const before = process.umask(0o177)
    try {
      server.listen(path, resolve)
    } finally {
      process.umask(before)
    }
  })

interface PrivateSocket {
  /** A folder that this process has locked: a socket that is there is stale. */
  readonly folder: string
  readonly name: string
  /** Connections at once. */
  readonly connectionsMax: number
}

/** Serves a socket of a folder; disposing it ends its connections and removes it. */
export const servePrivately = async (
  { folder, name, connectionsMax }: PrivateSocket,
  serve: (socket: Socket) => void,
): Promise<AsyncDisposable> => {
  await using resources = new AsyncDisposableStack()
  const { path } = resources.use(await SocketPath.of(folder, name))
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
    serve(socket)
  })
  server.maxConnections = connectionsMax
  await rm(path, { force: true })
  await listenPrivately(server, path)
  // closing it also removes the socket
  resources.defer(async () => {
    const over = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of sockets) socket.destroy()
    await over
  })
  return resources.move()
}
