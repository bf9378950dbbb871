// The protocol between programs of one host: messages over a Unix socket, each behind its length, used like a WebSocket.
import type { Socket } from 'node:net'
import type { SocketLike } from '../../protocol/client.ts'
import { FRAME_BYTES_MAX } from '../../protocol/limits.ts'

/** The length before each message, big endian, in bytes. */
const LENGTH_BYTES = 4

// what a WebSocket calls its states and its end without a close frame
const CONNECTING = 0
const OPEN = 1
const CLOSED = 3
const CLOSE_ABNORMAL = 1006

interface Events {
  readonly open: undefined
  readonly message: { readonly data: Uint8Array }
  readonly close: { readonly code: number; readonly reason: string }
  readonly error: unknown
}
type Listeners = { readonly [T in keyof Events]: ((event: Events[T]) => void)[] }

/** Gathers messages out of bytes as they come. */
class Messages {
  #pieces: Buffer[] = []
  #have = 0

  /** The messages that are whole with these bytes; null where one is longer than any may be. */
  take(bytes: Buffer): Uint8Array[] | null {
    this.#pieces.push(bytes)
    this.#have += bytes.length
    const whole: Uint8Array[] = []
    while (this.#have >= LENGTH_BYTES) {
      const length = this.#join(LENGTH_BYTES).readUInt32BE(0)
      if (length > FRAME_BYTES_MAX) return null
      const end = LENGTH_BYTES + length
      if (this.#have < end) break
      const all = this.#join(end)
      whole.push(new Uint8Array(all.subarray(LENGTH_BYTES, end)))
      this.#pieces = [all.subarray(end)]
      this.#have -= end
    }
    return whole
  }

  /** A buffer that begins with so many bytes of what has come. */
  #join(bytes: number): Buffer {
    if (this.#pieces[0]!.length < bytes) this.#pieces = [Buffer.concat(this.#pieces)]
    return this.#pieces[0]!
  }
}

/** One end of such a connection; whatever is wrong with what comes ends it. */
export class LocalSocket implements SocketLike {
  binaryType = 'arraybuffer'
  readonly #socket: Socket
  readonly #listeners: Listeners = { open: [], message: [], close: [], error: [] }
  #state: number

  constructor(socket: Socket) {
    this.#socket = socket
    this.#state = socket.connecting ? CONNECTING : OPEN
    const messages = new Messages()
    socket.on('connect', () => {
      this.#state = OPEN
      this.#tell('open', undefined)
    })
    socket.on('data', (bytes: Buffer) => {
      const whole = messages.take(bytes)
      if (whole === null) socket.destroy()
      else for (const data of whole) this.#tell('message', { data })
    })
    socket.on('error', (error) => this.#tell('error', error))
    socket.on('close', () => {
      this.#state = CLOSED
      this.#tell('close', { code: CLOSE_ABNORMAL, reason: '' })
    })
  }

  get readyState(): number {
    return this.#state
  }

  get bufferedAmount(): number {
    return this.#socket.writableLength
  }

  send(data: Uint8Array, sent?: () => void): void {
    const length = Buffer.alloc(LENGTH_BYTES)
    length.writeUInt32BE(data.length)
    this.#socket.cork()
    this.#socket.write(length)
    this.#socket.write(data, () => sent?.())
    this.#socket.uncork()
  }

  /** Ends once what was sent is out. */
  close(): void {
    this.#state = CLOSED
    this.#socket.destroySoon()
  }

  addEventListener<T extends keyof Events>(type: T, listener: (event: Events[T]) => void): void {
    this.#listeners[type].push(listener)
  }

  #tell<T extends keyof Events>(type: T, event: Events[T]): void {
    for (const listener of this.#listeners[type]) listener(event)
  }
}
