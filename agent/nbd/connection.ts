// One NBD socket: sends bytes, feeds received bytes to a receiver, and detects a silent server.
import { connect, type Socket } from 'node:net'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Receiver } from './handshake.ts'

/** Size of the one receive buffer of a connection, in bytes. */
const RECEIVE_BUFFER_BYTES = 1 << 20
/** How long a closing connection may take to flush its last bytes to the kernel, in milliseconds. */
const CLOSE_GRACE_MS = 1_000

/** Where a server is. */
export type NbdPlace = { readonly socketPath: string } | { readonly host: string; readonly port: number }

export const placeName = (place: NbdPlace): string =>
  'socketPath' in place ? place.socketPath : `${place.host}:${place.port}`

export interface NbdConnectionOptions {
  readonly place: NbdPlace
  /** Longest time without any byte while `isWaiting`, in milliseconds; then the connection ends with NBD_ERROR. */
  readonly timeoutMs: number
  readonly receiver: Receiver<never>
  readonly isWaiting: () => boolean
  /** Called once, with what ended the connection. */
  readonly onEnd: (error: VarveError) => void
}

const socketError = (name: string, error: NodeJS.ErrnoException): VarveError =>
  new VarveError('NBD_ERROR', `the NBD connection to ${name} failed (${error.code ?? error.message})`, {
    details: { errno: error.code ?? 'EIO' },
    cause: error,
  })

/** Feeds a receiver from a socket until either fails; the end is reported once, with a VarveError. */
export class NbdConnection {
  readonly #options: NbdConnectionOptions
  readonly #name: string
  readonly #socket: Socket
  #wanted: Buffer = Buffer.alloc(0)
  #filledBytes = 0
  #activeAtMs = performance.now()
  #timer: NodeJS.Timeout | null = null
  #corked = false
  #ended = false
  #closed: Promise<void>

  constructor(options: NbdConnectionOptions) {
    this.#options = options
    const { place } = options
    this.#name = placeName(place)
    this.#socket = connect({
      ...('socketPath' in place ? { path: place.socketPath } : { host: place.host, port: place.port, noDelay: true }),
      onread: {
        buffer: Buffer.allocUnsafeSlow(RECEIVE_BUFFER_BYTES),
        callback: (length, buffer) => {
          this.#receive(buffer.subarray(0, length))
          return true
        },
      },
    })
    const closed = Promise.withResolvers<void>()
    this.#closed = closed.promise
    this.#socket.on('error', (error) => this.end(socketError(this.#name, error)))
    this.#socket.on('end', () => this.#endClosed())
    this.#socket.on('close', () => {
      this.#endClosed()
      closed.resolve()
    })
    this.#watch()
  }

  /** Sends the bytes, and the payload behind them uncopied: it must not change until the request is answered. */
  send(bytes: Uint8Array, payload?: Uint8Array): void {
    if (this.#ended) return
    this.#cork()
    this.#socket.write(bytes, this.#touch)
    if (payload !== undefined) this.#socket.write(payload, this.#touch)
    this.#touch()
    this.#watch()
  }

  /** Ends at once with this error; only the first end counts. */
  end(error: VarveError): void {
    if (this.#ended) return
    this.#ended = true
    this.#stopWatch()
    this.#socket.destroy()
    this.#options.onEnd(error)
  }

  /** Sends `farewell`, closes the socket and waits until it is closed. */
  async close(farewell: Uint8Array, reason: VarveError): Promise<void> {
    if (!this.#ended) {
      this.#ended = true
      this.#stopWatch()
      this.#options.onEnd(reason)
      const grace = setTimeout(() => this.#socket.destroy(), CLOSE_GRACE_MS)
      this.#socket.end(farewell, () => {
        clearTimeout(grace)
        this.#socket.destroy()
      })
    }
    await this.#closed
  }

  #receive(bytes: Uint8Array): void {
    this.#touch()
    try {
      this.#feed(bytes)
    } catch (error) {
      this.end(asVarveError(error))
    }
  }

  #feed(bytes: Uint8Array): void {
    let at = 0
    while (!this.#ended) {
      const room = this.#wanted.length - this.#filledBytes
      if (room === 0) {
        this.#wanted = this.#options.receiver.next().value
        this.#filledBytes = 0
        continue
      }
      if (at === bytes.length) return
      const length = Math.min(room, bytes.length - at)
      this.#wanted.set(bytes.subarray(at, at + length), this.#filledBytes)
      this.#filledBytes += length
      at += length
    }
  }

  #endClosed(): void {
    const message = this.#filledBytes > 0 ? 'in the middle of a message' : 'early'
    this.end(
      new VarveError('NBD_ERROR', `the NBD server at ${this.#name} closed the connection ${message}`, {
        details: { errno: 'ECONNRESET' },
      }),
    )
  }

  /** Requests of one turn of the event loop leave in one system call. */
  #cork(): void {
    if (this.#corked) return
    this.#corked = true
    this.#socket.cork()
    process.nextTick(() => {
      this.#corked = false
      this.#socket.uncork()
    })
  }

  readonly #touch = (): void => {
    this.#activeAtMs = performance.now()
  }

  #watch(delayMs = this.#options.timeoutMs): void {
    if (this.#timer !== null || this.#ended) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      // after a stall of this program the answer may be waiting in the socket: read it first
      setImmediate(() => this.#judgeSilence())
    }, delayMs)
    this.#timer.unref()
  }

  #judgeSilence(): void {
    if (this.#ended || this.#timer !== null || !this.#options.isWaiting()) return
    const { timeoutMs } = this.#options
    const leftMs = this.#activeAtMs + timeoutMs - performance.now()
    if (leftMs > 0) {
      this.#watch(Math.ceil(leftMs))
      return
    }
    this.end(
      new VarveError('NBD_ERROR', `the NBD server at ${this.#name} has been silent for ${timeoutMs} ms`, {
        details: { errno: 'ETIMEDOUT', timeoutMs },
      }),
    )
  }

  #stopWatch(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }
}
