// Connections that are not authenticated yet: a bounded number, and those of the address with most of them are ended first.
import { STRANGERS_MAX } from '../memory/limits.ts'

/** What is used of a connection's socket, as accepted or with TLS around it. */
export interface StrangeSocket {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  once(event: 'close', listener: () => void): unknown
  destroy(): unknown
}

/** The same for the accepted socket and the one with TLS around it. */
const nameOf = ({ remoteAddress, remotePort }: StrangeSocket): string => `${remoteAddress} ${remotePort}`

export class Strangers {
  readonly #max: number
  /** By address, and there by name, the oldest first. */
  readonly #addresses = new Map<string, Map<string, StrangeSocket>>()
  #count = 0

  constructor(max = STRANGERS_MAX) {
    this.#max = max
  }

  get count(): number {
    return this.#count
  }

  /** Adds a connection; past the bound it ends the oldest one of the address with most of them. */
  add(socket: StrangeSocket): void {
    const address = socket.remoteAddress ?? ''
    const name = nameOf(socket)
    const sockets = this.#addresses.get(address) ?? new Map<string, StrangeSocket>()
    this.#addresses.set(address, sockets.set(name, socket))
    this.#count++
    socket.once('close', () => this.#remove(address, name, socket))
    if (this.#count > this.#max) this.#endOne()
  }

  /** This connection is authenticated. */
  known(socket: StrangeSocket): void {
    this.#remove(socket.remoteAddress ?? '', nameOf(socket), null)
  }

  #remove(address: string, name: string, socket: StrangeSocket | null): void {
    const sockets = this.#addresses.get(address)
    const found = sockets?.get(name)
    if (sockets === undefined || found === undefined || (socket !== null && found !== socket)) return
    sockets.delete(name)
    if (sockets.size === 0) this.#addresses.delete(address)
    this.#count--
  }

  #endOne(): void {
    let most: [string, Map<string, StrangeSocket>] | null = null
    for (const one of this.#addresses) if (most === null || one[1].size > most[1].size) most = one
    const [name, socket] = most?.[1].entries().next().value ?? ['', null]
    if (most === null || socket === null) return
    this.#remove(most[0], name, socket)
    socket.destroy()
  }
}
