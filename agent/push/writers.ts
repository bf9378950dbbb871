// The socket to which QEMU writes the disks of a lease.
import { chown } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { listenPrivately } from '../../protocol/host/private-socket.ts'
import { writerSocket, type PushOrder } from './control.ts'
import { PushedDisk } from './pushed-disk.ts'
import { serveWriter, targetOf } from './writer-connection.ts'

/** Clients at once: QEMU has one for each disk. */
const WRITERS_MAX = 512

/** A server that takes so many clients, and notes them. */
export const serverFor = (clients: Set<Socket>, most: number, serve: (socket: Socket) => Promise<void>): Server =>
  createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined)
    if (clients.size >= most) {
      socket.destroy()
      return
    }
    clients.add(socket)
    socket.once('close', () => clients.delete(socket))
    serve(socket).catch(() => void socket.destroy())
  })

/** The disks of a lease while QEMU can write them. */
export class Writers implements AsyncDisposable {
  readonly disks: readonly PushedDisk[]
  readonly #clients = new Set<Socket>()
  readonly #server: Server

  private constructor({ spoolFolder, broken, disks }: PushOrder) {
    this.disks = disks.map(({ size, kind }, index) => new PushedDisk({ size, kind, folder: spoolFolder, index }))
    if (broken !== null) for (const disk of this.disks) disk.break(broken)
    const targets = this.disks.map((disk, index) => targetOf(disks[index]!.name, disk))
    this.#server = serverFor(this.#clients, WRITERS_MAX, (socket) => serveWriter(socket, targets))
  }

  /** Its socket must not be there. */
  static async open(order: PushOrder): Promise<Writers> {
    const { socketFolder, owner } = order
    const writers = new Writers(order)
    await listenPrivately(writers.#server, writerSocket(socketFolder))
    if (owner !== null) await chown(writerSocket(socketFolder), owner.uid, owner.gid)
    return writers
  }

  /** How many clients there are. */
  get clients(): number {
    return this.#clients.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const socket of this.#clients) socket.destroy()
    await closed
  }
}
