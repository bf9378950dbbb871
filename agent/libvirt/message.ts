// Messages of libvirt's RPC protocol: a length, a header of six numbers, and what the procedure says.
import { VarveError } from '../../protocol/errors.ts'
import { XdrReader, XdrWriter } from './xdr.ts'

/** Longest message, its length included, in bytes: libvirt's own limit. */
export const MESSAGE_BYTES_MAX = 32 * 1024 * 1024

/** The length word and the header, in bytes. */
const LENGTH_BYTES = 4
const HEADER_BYTES = 24
const MESSAGE_BYTES_MIN = LENGTH_BYTES + HEADER_BYTES

export const REMOTE_PROGRAM = 0x2000_8086
export const QEMU_PROGRAM = 0x2000_8087
export const KEEPALIVE_PROGRAM = 0x6b65_6570

/** Of all three programs. */
export const PROGRAM_VERSION = 1

export const KEEPALIVE_PING = 1
export const KEEPALIVE_PONG = 2

/** What kind of message it is, by its number. */
export const MESSAGE_TYPES = { call: 0, reply: 1, message: 2, stream: 3 } as const

/** How it went, by its number. */
export const MESSAGE_STATUS = { ok: 0, error: 1 } as const

export interface MessageHeader {
  readonly program: number
  readonly version: number
  readonly procedure: number
  readonly type: number
  readonly serial: number
  readonly status: number
}

export interface Message {
  readonly header: MessageHeader
  readonly payload: Buffer
}

/** A message as it is sent. PARAMS_INVALID for one that is longer than MESSAGE_BYTES_MAX. */
export const encodeMessage = ({ header, payload }: Message): Buffer => {
  const length = MESSAGE_BYTES_MIN + payload.length
  if (length > MESSAGE_BYTES_MAX) {
    throw new VarveError('PARAMS_INVALID', `libvirt takes messages of at most ${MESSAGE_BYTES_MAX} bytes`)
  }
  const { program, version, procedure, type, serial, status } = header
  const head = new XdrWriter().u32(length).u32(program).u32(version).i32(procedure).u32(type).u32(serial).u32(status)
  return Buffer.concat([head.bytes(), payload])
}

const decodeMessage = (bytes: Buffer): Message => {
  const reader = new XdrReader(bytes)
  const header = {
    program: reader.u32(),
    version: reader.u32(),
    procedure: reader.i32(),
    type: reader.u32(),
    serial: reader.u32(),
    status: reader.u32(),
  }
  return { header, payload: bytes.subarray(HEADER_BYTES) }
}

/** Cuts what arrives into messages. LIBVIRT_PROTOCOL for a length that cannot be; it holds one message's bytes at most. */
export class MessageSplitter {
  #chunks: Buffer[] = []
  #held = 0
  /** Length of the message that is being received; 0 until it is known. */
  #length = 0;

  *push(chunk: Buffer): Generator<Message> {
    this.#chunks.push(chunk)
    this.#held += chunk.length
    while (this.#isWhole()) {
      const bytes = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
      const rest = bytes.subarray(this.#length)
      const message = bytes.subarray(LENGTH_BYTES, this.#length)
      this.#chunks = rest.length === 0 ? [] : [rest]
      this.#held = rest.length
      this.#length = 0
      yield decodeMessage(message)
    }
  }

  #isWhole(): boolean {
    if (this.#length === 0) {
      if (this.#held < LENGTH_BYTES) return false
      const [first] = this.#chunks
      if (first!.length < LENGTH_BYTES) this.#chunks = [Buffer.concat(this.#chunks)]
      this.#length = this.#chunks[0]!.readUInt32BE()
      if (this.#length < MESSAGE_BYTES_MIN || this.#length > MESSAGE_BYTES_MAX) {
        const sentence = `libvirt announced a message of ${this.#length} bytes; it has ${MESSAGE_BYTES_MIN} to ${MESSAGE_BYTES_MAX}`
        throw new VarveError('LIBVIRT_PROTOCOL', sentence)
      }
    }
    return this.#held >= this.#length
  }
}
