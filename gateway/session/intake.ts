// Watches the raw bytes of one WebSocket for how long its messages are, before a library gathers them: RFC 6455, section 5.2.
import { VarveError } from '../../protocol/errors.ts'

/**
 * Pieces in which any message may come, and bytes for which one more may: each takes separate memory until the message is
 * complete.
 */
const PIECES_FREE = 64
const PIECE_BYTES_MIN = 256

/** Pings and pongs of the WebSocket that may come without a message between them; our own are messages. */
const CONTROL_FRAMES_MAX = 64

/** Longest header of a frame, in bytes. */
const HEADER_BYTES_MAX = 14

/** Limits of a message. */
export interface IntakeLimits {
  /** Makes room for a message that will have so many bytes in all; the error that ends the connection where there is none. */
  announced(bytes: number): VarveError | null
  /** The message is whole; its receiver accounts for its memory from now on. */
  whole(): void
}

/** Length of the header that begins like this, or null while that is unknown. */
const headerBytes = (header: Uint8Array, have: number): number | null => {
  if (have < 2) return null
  const length = header[1]! & 0x7f
  return 2 + (length === 127 ? 8 : length === 126 ? 2 : 0) + ((header[1]! & 0x80) === 0 ? 0 : 4)
}

const payloadBytes = (header: Uint8Array): number => {
  const view = new DataView(header.buffer, header.byteOffset)
  const length = header[1]! & 0x7f
  if (length === 126) return view.getUint16(2)
  // past 2^53 it is inexact, and too long in any case
  return length === 127 ? Number(view.getBigUint64(2)) : length
}

export class Intake {
  readonly #limits: IntakeLimits
  readonly #header = new Uint8Array(HEADER_BYTES_MAX)
  #headerHave = 0
  /** Of the frame under way. */
  #payloadLeft = 0
  #final = true
  #control = false
  /** Of the message under way. */
  #messageBytes = 0
  #pieces = 0
  /** Since the last message. */
  #controlFrames = 0

  constructor(limits: IntakeLimits) {
    this.#limits = limits
  }

  /** Takes the next bytes of the connection, in order; the error that must end it. */
  feed(bytes: Uint8Array): VarveError | null {
    let at = 0
    while (at < bytes.length) {
      if (this.#payloadLeft > 0) {
        const taken = Math.min(this.#payloadLeft, bytes.length - at)
        this.#payloadLeft -= taken
        at += taken
        if (this.#payloadLeft === 0) this.#frameEnds()
        continue
      }
      this.#header[this.#headerHave++] = bytes[at++]!
      if (headerBytes(this.#header, this.#headerHave) !== this.#headerHave) continue
      const error = this.#frameBegins()
      if (error !== null) return error
    }
    return this.#messageBytes > 0 ? this.#piece() : null
  }

  #frameBegins(): VarveError | null {
    this.#headerHave = 0
    this.#final = (this.#header[0]! & 0x80) !== 0
    this.#control = (this.#header[0]! & 0x08) !== 0
    this.#payloadLeft = payloadBytes(this.#header)
    if (this.#control && ++this.#controlFrames > CONTROL_FRAMES_MAX)
      return new VarveError('FRAME_INVALID', 'too many pings of the WebSocket came')
    if (!this.#control) {
      this.#messageBytes += this.#payloadLeft
      const error = this.#limits.announced(this.#messageBytes) ?? this.#piece()
      if (error !== null) return error
    }
    if (this.#payloadLeft === 0) this.#frameEnds()
    return null
  }

  #frameEnds(): void {
    if (this.#control || !this.#final) return
    this.#messageBytes = 0
    this.#pieces = 0
    this.#controlFrames = 0
    this.#limits.whole()
  }

  #piece(): VarveError | null {
    if (++this.#pieces <= PIECES_FREE + this.#messageBytes / PIECE_BYTES_MIN) return null
    return new VarveError('FRAME_INVALID', 'a message came in too many small pieces')
  }
}
