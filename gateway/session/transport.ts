// The sending side of a WebSocket: bytes that wait in it are counted, so that a peer that reads nothing is cut off.
import { VarveError } from '../../protocol/errors.ts'
import { freeBytes } from '../../protocol/memory.ts'
import type { Room, Transport } from '../../protocol/peer.ts'
import { FRAME_UNSENT_BYTES_MIN, FRAMES_UNSENT_FREE } from '../memory/limits.ts'

/** What is used of a WebSocket. */
export interface SendingSocket {
  readonly open: boolean
  send(bytes: Uint8Array, sent: () => void): void
  /** Answers a ping of the WebSocket itself. */
  pong(data: Uint8Array, sent: () => void): void
  close(error: VarveError): void
}

export class SocketTransport implements Transport {
  readonly #socket: SendingSocket
  #room: Room | null = null
  #frames = 0
  #bytes = 0

  constructor(socket: SendingSocket) {
    this.#socket = socket
  }

  /** Cost of the waiting frames, each with its minimum: senders wait for it, so many small ones must not count as few bytes. */
  get bufferedBytes(): number {
    return this.#bytes
  }

  /** The memory for waiting frames, once the peer is authenticated. */
  useRoom(room: Room): void {
    this.#room = room
  }

  send(bytes: Uint8Array, sent?: () => void): void {
    if (!this.#socket.open) return sent?.()
    const release = sent ?? this.#take(bytes.length)
    if (release === null) return this.close(new VarveError('CONNECTION_LOST', 'the peer takes its data too slowly'))
    const taken = Math.max(bytes.length, FRAME_UNSENT_BYTES_MIN)
    this.#frames++
    this.#bytes += taken
    this.#socket.send(bytes, () => {
      this.#frames--
      this.#bytes -= taken
      freeBytes(bytes)
      release()
    })
  }

  /** Answers a ping of the WebSocket, unless so much waits already that the peer must be busy with it. */
  pong(data: Uint8Array): void {
    if (!this.#socket.open || this.#frames >= FRAMES_UNSENT_FREE) return
    this.#frames++
    this.#socket.pong(data, () => void this.#frames--)
  }

  close(error: VarveError): void {
    this.#socket.close(error)
  }

  /** The first frames are free; null where there is no room, and before the peer is authenticated. */
  #take(bytes: number): (() => void) | null {
    if (this.#frames < FRAMES_UNSENT_FREE) return () => {}
    return this.#room?.take(bytes) ?? null
  }
}
