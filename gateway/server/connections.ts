// The connections of one listening server: counted from the first byte, and ended in an order that lets sessions say goodbye.
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { VarveError } from '../../protocol/errors.ts'
import type { Sockets } from '../session/socket.ts'

/** How long connections may take to end by themselves when the server stops, in milliseconds. */
const STOP_TIMEOUT_MS = 3000

export class Connections {
  readonly #server: Server
  /** Every connection, also those in which nothing was said yet. */
  readonly #open = new Set<Socket>()

  constructor(server: Server) {
    this.#server = server
    server.on('connection', (socket: Socket) => {
      this.#open.add(socket)
      socket.once('close', () => this.#open.delete(socket))
    })
  }

  /** Tells every session why, stops listening, and ends what has not ended in time. */
  async end(sockets: Sockets, reason: VarveError): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    sockets.end(reason)
    this.#server.closeIdleConnections()
    const timer = setTimeout(() => {
      for (const socket of this.#open) socket.destroy()
    }, STOP_TIMEOUT_MS)
    await closed
    clearTimeout(timer)
  }
}
