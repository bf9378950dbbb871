// Requests of NBD clients and replies to them, without I/O: what bytes ask for, and the headers of every kind of answer.
import {
  CHUNK,
  CHUNK_ERROR,
  COMMAND,
  COMMAND_FLAG_DONT_FRAGMENT,
  CONTEXT_ID_BYTES,
  DATA_OFFSET_BYTES,
  HOLE_BYTES,
  PAYLOAD_BYTES_MAX,
  REPLY_FLAG_DONE,
  REQUEST_BYTES,
  REQUEST_MAGIC,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC,
  writeUint64,
} from '../nbd/wire.ts'
import type { ReplyMode } from './negotiation.ts'

// extended request   client   magic(4) flags(2) command(2) cookie(8) offset(8) length(8) [payload]
// extended reply     server   magic(4) flags(2) type(2) cookie(8) offset(8) length(8) payload(length)
export const EXTENDED_REQUEST_BYTES = 32
const EXTENDED_REPLY_BYTES = 32
const EXTENDED_REQUEST_MAGIC = 0x21e41c71
const EXTENDED_REPLY_MAGIC = 0x6e8a278c
const CHUNK_STATUS_EXTENDED = 6

/** Command flags: a map's answer may have one extent only; bytes follow an extended request. */
const FLAG_REQUEST_ONE = 1 << 3
const FLAG_PAYLOAD = 1 << 5

const TRIM = 4

/** Most extents of one answer. */
export const EXTENTS_MAX = 4096

/** Longest extent in an answer with 32 bits for it, in bytes: whole blocks of every size. */
const EXTENT_BYTES_MAX = 2 ** 32 - 2 ** 22

export const ERRNO = { notPermitted: 1, io: 5, invalid: 22 } as const

/** A request as it came; offset and length are exact up to 2^53, and larger than any disk beyond. */
export interface Request {
  readonly flags: number
  readonly command: number
  readonly cookie: bigint
  readonly offset: number
  readonly length: number
  /** Bytes that follow it. */
  readonly payload: number
}

export const requestBytes = (mode: ReplyMode): number => (mode === 'extended' ? EXTENDED_REQUEST_BYTES : REQUEST_BYTES)

/** The request of these bytes; null where they are none. */
export const readRequest = (bytes: Buffer, mode: ReplyMode): Request | null => {
  const extended = mode === 'extended'
  if (bytes.readUInt32BE(0) !== (extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC)) return null
  const flags = bytes.readUInt16BE(4)
  const command = bytes.readUInt16BE(6)
  const cookie = bytes.readBigUInt64BE(8)
  const offset = Number(bytes.readBigUInt64BE(16))
  const length = extended ? Number(bytes.readBigUInt64BE(24)) : bytes.readUInt32BE(24)
  const carries = extended ? (flags & FLAG_PAYLOAD) !== 0 : command === COMMAND.write
  return { flags, command, cookie, offset, length, payload: carries ? length : 0 }
}

/** What is to be done for a request. */
export type Plan =
  | { readonly kind: 'read'; readonly whole: boolean }
  | { readonly kind: 'map'; readonly limit: number }
  | { readonly kind: 'done' }
  | { readonly kind: 'refuse'; readonly errno: number; readonly why: string }
  | { readonly kind: 'disconnect' }

const invalid = (why: string): Plan => ({ kind: 'refuse', errno: ERRNO.invalid, why })

export interface Circumstances {
  /** Of the export, in bytes. */
  readonly size: number
  readonly mode: ReplyMode
  /** Whether contexts were settled. */
  readonly maps: boolean
}

/** What a request gets; null where the connection must end, as the place of the next request is unknown. */
export const planRequest = (request: Request, { size, mode, maps }: Circumstances): Plan | null => {
  const { command, flags, offset, length, payload } = request
  if (payload > PAYLOAD_BYTES_MAX) return null
  const allowed = (mask: number): boolean => (flags & ~mask) === 0
  const inside = length > 0 && offset < size && length <= size - offset
  switch (command) {
    case COMMAND.disconnect:
      return { kind: 'disconnect' }
    case COMMAND.read: {
      const whole = (flags & COMMAND_FLAG_DONT_FRAGMENT) !== 0
      if (!allowed(COMMAND_FLAG_DONT_FRAGMENT) || (whole && mode === 'simple'))
        return invalid('unknown flags of a read')
      if (!inside) return invalid('a read of nothing, or past the end')
      if (length > PAYLOAD_BYTES_MAX) return invalid(`more than ${PAYLOAD_BYTES_MAX} bytes in one read`)
      return { kind: 'read', whole: whole || mode === 'simple' }
    }
    case COMMAND.blockStatus:
      if (!allowed(FLAG_REQUEST_ONE)) return invalid('unknown flags of a block status')
      if (!maps) return invalid('no context was settled')
      if (!inside) return invalid('a block status of nothing, or past the end')
      return { kind: 'map', limit: (flags & FLAG_REQUEST_ONE) === 0 ? EXTENTS_MAX : 1 }
    case COMMAND.flush:
      return { kind: 'done' }
    case COMMAND.write:
    case COMMAND.writeZeroes:
    case TRIM:
      return { kind: 'refuse', errno: ERRNO.notPermitted, why: 'a restore point cannot be written to' }
    default:
      return invalid('unknown command')
  }
}

/** The header of a simple reply, behind which the bytes of a read follow. */
export const simpleReply = (cookie: bigint, errno = 0): Buffer => {
  const bytes = Buffer.allocUnsafe(SIMPLE_REPLY_BYTES)
  bytes.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0)
  bytes.writeUInt32BE(errno, 4)
  bytes.writeBigUInt64BE(cookie, 8)
  return bytes
}

/** Makes the chunks of one request's reply. */
export class ReplyChunks {
  readonly #request: Request
  readonly #extended: boolean

  constructor(request: Request, mode: ReplyMode) {
    this.#request = request
    this.#extended = mode === 'extended'
  }

  /** What stands in front of so many bytes of data. */
  data(offset: number, length: number, done: boolean): Buffer {
    const bytes = this.#chunk(CHUNK.data, DATA_OFFSET_BYTES, done, length)
    writeUint64(bytes, offset, bytes.length - DATA_OFFSET_BYTES)
    return bytes
  }

  hole(offset: number, length: number, done: boolean): Buffer {
    const bytes = this.#chunk(CHUNK.hole, HOLE_BYTES, done)
    writeUint64(bytes, offset, bytes.length - HOLE_BYTES)
    bytes.writeUInt32BE(length, bytes.length - 4)
    return bytes
  }

  /** The end of a reply without more. */
  end(): Buffer {
    return this.#chunk(CHUNK.none, 0, true)
  }

  error(errno: number, why: string): Buffer {
    const text = Buffer.from(why).subarray(0, 1024)
    const bytes = this.#chunk(CHUNK_ERROR + 1, 6 + text.length, true)
    const at = bytes.length - 6 - text.length
    bytes.writeUInt32BE(errno, at)
    bytes.writeUInt16BE(text.length, at + 4)
    bytes.set(text, at + 6)
    return bytes
  }

  /** A map; an extent too long for its field ends it. */
  status(
    context: number,
    extents: readonly { readonly length: number; readonly flags: number }[],
    done: boolean,
  ): Buffer {
    if (this.#extended) {
      const bytes = this.#chunk(CHUNK_STATUS_EXTENDED, 8 + 16 * extents.length, done)
      let at = EXTENDED_REPLY_BYTES
      bytes.writeUInt32BE(context, at)
      bytes.writeUInt32BE(extents.length, at + 4)
      for (const { length, flags } of extents) {
        writeUint64(bytes, length, (at += at === EXTENDED_REPLY_BYTES ? 8 : 16))
        writeUint64(bytes, flags, at + 8)
      }
      return bytes
    }
    const long = extents.findIndex(({ length }) => length > EXTENT_BYTES_MAX)
    const told = long < 0 ? extents : extents.slice(0, long + 1)
    const bytes = this.#chunk(CHUNK.blockStatus, CONTEXT_ID_BYTES + 8 * told.length, done)
    let at = STRUCTURED_REPLY_BYTES
    bytes.writeUInt32BE(context, at)
    at += CONTEXT_ID_BYTES
    for (const { length, flags } of told) {
      bytes.writeUInt32BE(Math.min(length, EXTENT_BYTES_MAX), at)
      bytes.writeUInt32BE(flags, at + 4)
      at += 8
    }
    return bytes
  }

  /** A chunk's header and room for `own` bytes, behind which `follows` more come from elsewhere. */
  #chunk(type: number, own: number, done: boolean, follows = 0): Buffer {
    const { cookie, offset } = this.#request
    const header = this.#extended ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES
    const bytes = Buffer.alloc(header + own)
    bytes.writeUInt32BE(this.#extended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC, 0)
    bytes.writeUInt16BE(done ? REPLY_FLAG_DONE : 0, 4)
    bytes.writeUInt16BE(type, 6)
    bytes.writeBigUInt64BE(cookie, 8)
    if (this.#extended) {
      bytes.writeBigUInt64BE(BigInt(offset), 16)
      writeUint64(bytes, own + follows, 24)
    } else bytes.writeUInt32BE(own + follows, 16)
    return bytes
  }
}
