// The serial console of a drill: QEMU serves one client, which keeps what it says and hands it on to a command that wants it.
import { createServer, type Server, type Socket } from 'node:net'
import { SocketPath } from '../../protocol/host/socket-path.ts'
import type { SerialLog } from './serial-log.ts'

/** Where a command finds the console, in the folder of the drill. */
export const CONSOLE_SOCKET = 'console.sock'

/** How much may wait for one that reads slowly, in bytes; then it is closed. */
const WAITING_BYTES_MAX = 1024 ** 2

const CLIENTS_MAX = 8

export class SerialPort implements AsyncDisposable {
  readonly #socket: Socket
  readonly #log: SerialLog
  readonly #at: SocketPath
  readonly #clients = new Set<Socket>()
  #server: Server | null = null

  private constructor(socket: Socket, log: SerialLog, at: SocketPath) {
    this.#socket = socket
    this.#log = log
    this.#at = at
    socket.on('error', () => undefined)
    socket.on('data', (bytes: Buffer) => {
      log.add(bytes)
      for (const client of this.#clients) {
        client.write(bytes)
        if (client.writableLength > WAITING_BYTES_MAX) client.destroy()
      }
    })
  }

  static async open(folder: string, socket: Socket, log: SerialLog): Promise<SerialPort> {
    return new SerialPort(socket, log, await SocketPath.of(folder, CONSOLE_SOCKET))
  }

  /** Serves what was said until now and what follows; what a client sends is typed. */
  async listen(): Promise<void> {
    const server = createServer((client) => {
      client.on('error', () => undefined)
      client.on('close', () => this.#clients.delete(client))
      if (this.#clients.size >= CLIENTS_MAX) {
        client.destroy()
        return
      }
      client.write(this.#log.text)
      this.#clients.add(client)
      client.on('data', (bytes: Buffer) => this.#socket.write(bytes))
    })
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#at.path, resolve)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.destroy()
    const server = this.#server
    if (server !== null) await new Promise<void>((resolve) => server.close(() => resolve()))
    await this.#at[Symbol.asyncDispose]()
  }
}
