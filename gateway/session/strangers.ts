// Connections that have not said who they are: few at once, and those of whoever has most of them go first.
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

  /** Takes a connection in; past the bound the oldest one of the address that has most of them is ended. */
  add(socket: StrangeSocket): void {
    const address = socket.remoteAddress ?? ''
    const name = nameOf(socket)
    const sockets = this.#addresses.get(address) ?? new Map<string, StrangeSocket>()
    this.#addresses.set(address, sockets.set(name, socket))
    this.#count++
    socket.once('close', () => this.#remove(address, name, socket))
    if (this.#count > this.#max) this.#endOne()
  }

  /** This connection said who it is. */
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
