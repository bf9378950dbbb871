// The raw bytes of one WebSocket (RFC 6455, section 5.2): how long messages are, before anybody gathers them; large ones are
// gathered here, each in one buffer, and all else is passed on to a library.
import { VarveError } from '../errors.ts'
import { FRAME_BYTES_MAX } from '../limits.ts'

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

/** Messages from this size on are gathered here, in bytes: the library would keep each piece, and join them by another copy. */
export const GATHERED_BYTES_MIN = 64 * 1024

/** Kind of the frame after which a peer has nothing more to say. */
const CLOSE = 8

/** First byte of the one frame of a binary message. */
const WHOLE_BINARY = 0x82
const MASKED = 0x80
const MASK_BYTES = 4

/** Whose frames come. */
export interface IntakeFrom {
  /** Those of the side that opened the connection are masked, those of the other one are not. */
  readonly masked: boolean
  /** A side that may do harm is held to few pieces and pings. */
  readonly trusted: boolean
}

/** Limits of a message, and who takes what came. */
export interface IntakeLimits {
  /** Makes room for a message that will have so many bytes in all; the error that ends the connection where there is none. */
  announced(bytes: number): VarveError | null
  /** The message is whole; its receiver accounts for its memory from now on. */
  whole(): void
  /** Takes a large message, which owns its buffer, after everything that came before it. */
  gathered(message: Buffer<ArrayBuffer>): void
  /** Takes all other bytes, in order: whole frames, and pieces of them. */
  rest(bytes: Buffer<ArrayBuffer>): void
  /** False once nothing is gathered any more, as the library has had the end of the connection. */
  readonly open: boolean
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

/** Undoes the mask of a message in place; our own agents' is zero. */
const unmask = (message: Buffer, mask: Uint8Array): void => {
  if (mask.every((byte) => byte === 0)) return
  for (let at = 0; at < message.length; at++) message[at]! ^= mask[at % MASK_BYTES]!
}

export class Intake {
  readonly #from: IntakeFrom
  readonly #limits: IntakeLimits
  readonly #header = new Uint8Array(HEADER_BYTES_MAX)
  #headerHave = 0
  /** Bytes of the header that came before these and were not passed on: whose they are shows at its end. */
  #headerHeld = 0
  /** The large message under way. */
  #message: Buffer<ArrayBuffer> | null = null
  #mask: Uint8Array = new Uint8Array(MASK_BYTES)
  /** Of the frame under way. */
  #payloadLeft = 0
  #final = true
  #control = false
  /** Of the message under way. */
  #messageBytes = 0
  #pieces = 0
  /** Since the last message. */
  #controlFrames = 0
  /** What comes after a closing frame is nobody's: the library takes nothing any more, and would stop the socket. */
  #over = false

  constructor(from: IntakeFrom, limits: IntakeLimits) {
    this.#from = from
    this.#limits = limits
  }

  /** Takes the next bytes of the connection, in order; the error that must end it. Bytes of large messages alone are freed. */
  feed(bytes: Buffer<ArrayBuffer>): VarveError | null {
    let at = 0
    // what lies before this is passed on, or belongs to a large message
    let from = 0
    let passed = false
    const pass = (to: number): void => {
      if (to <= from) return
      passed = true
      this.#limits.rest(bytes.subarray(from, to))
    }
    while (at < bytes.length) {
      if (this.#over) {
        pass(at)
        return null
      }
      if (this.#payloadLeft > 0) {
        const taken = Math.min(this.#payloadLeft, bytes.length - at)
        if (this.#message !== null) {
          this.#message.set(bytes.subarray(at, at + taken), this.#message.length - this.#payloadLeft)
          from = at + taken
        }
        this.#payloadLeft -= taken
        at += taken
        if (this.#payloadLeft === 0) this.#frameEnds()
        continue
      }
      this.#header[this.#headerHave++] = bytes[at++]!
      const length = headerBytes(this.#header, this.#headerHave)
      if (length !== this.#headerHave) continue
      const error = this.#frameBegins()
      if (error !== null) return error
      if (this.#gathers()) {
        pass(at - length)
        from = at
        this.#message = Buffer.allocUnsafeSlow(this.#payloadLeft)
        if (this.#from.masked) this.#mask = this.#header.slice(length - MASK_BYTES, length)
      } else if (this.#headerHeld > 0) this.#limits.rest(Buffer.from(this.#header.subarray(0, this.#headerHeld)))
      this.#headerHeld = 0
      if (this.#payloadLeft === 0) this.#frameEnds()
    }
    pass(bytes.length - (this.#headerHave - this.#headerHeld))
    this.#headerHeld = this.#headerHave
    const error = this.#messageBytes > 0 ? this.#piece() : null
    // nobody else has any of it, and the buffer that Node made for these bytes would wait for a collection
    if (!passed && from === bytes.length && bytes.byteLength === bytes.buffer.byteLength) bytes.buffer.transfer(0)
    return error
  }

  /** Whether the frame that begins is a large message: its bytes come here, and the library sees nothing of it. */
  #gathers(): boolean {
    return (
      this.#header[0] === WHOLE_BINARY &&
      ((this.#header[1]! & MASKED) !== 0) === this.#from.masked &&
      this.#payloadLeft >= GATHERED_BYTES_MIN &&
      this.#payloadLeft <= FRAME_BYTES_MAX &&
      // within a message in fragments this frame is a mistake, which is the library's to tell
      this.#pieces === 1 &&
      this.#limits.open
    )
  }

  #frameBegins(): VarveError | null {
    this.#headerHave = 0
    this.#final = (this.#header[0]! & 0x80) !== 0
    this.#control = (this.#header[0]! & 0x08) !== 0
    this.#payloadLeft = payloadBytes(this.#header)
    if (this.#control && ++this.#controlFrames > CONTROL_FRAMES_MAX && !this.#from.trusted)
      return new VarveError('FRAME_INVALID', 'too many pings of the WebSocket came')
    if (!this.#control) {
      this.#messageBytes += this.#payloadLeft
      const error = this.#limits.announced(this.#messageBytes) ?? this.#piece()
      if (error !== null) return error
    }
    return null
  }

  #frameEnds(): void {
    if (this.#control && (this.#header[0]! & 0x0f) === CLOSE) this.#over = true
    if (this.#control || !this.#final) return
    this.#messageBytes = 0
    this.#pieces = 0
    this.#controlFrames = 0
    this.#limits.whole()
    const message = this.#message
    if (message === null) return
    this.#message = null
    unmask(message, this.#mask)
    this.#limits.gathered(message)
  }

  #piece(): VarveError | null {
    if (++this.#pieces <= PIECES_FREE + this.#messageBytes / PIECE_BYTES_MIN || this.#from.trusted) return null
    return new VarveError('FRAME_INVALID', 'a message came in too many small pieces')
  }
}
