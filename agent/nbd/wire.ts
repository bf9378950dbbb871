// The NBD wire format after the handshake: its numbers, its limits, and pure functions between messages and bytes.
import { VarveError, type ErrorDetails } from '../../protocol/errors.ts'

// All integers are big-endian.
//
//   request           client   magic(4) flags(2) command(2) cookie(8) offset(8) length(4) [payload]
//   simple reply      server   magic(4) error(4) cookie(8)
//   structured reply  server   magic(4) flags(2) type(2) cookie(8) length(4) payload(length)

export const REQUEST_BYTES = 28
export const SIMPLE_REPLY_BYTES = 16
export const STRUCTURED_REPLY_BYTES = 20
/** Bytes of a data chunk in front of its data: the offset. */
export const DATA_OFFSET_BYTES = 8
export const HOLE_BYTES = 12

export const REQUEST_MAGIC = 0x25609513
export const SIMPLE_REPLY_MAGIC = 0x67446698
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef

/** Longest string of the protocol (an export name, a context name, an error text), in bytes. */
export const STRING_BYTES_MAX = 4096
/** Most extents in one block status chunk. */
export const STATUS_EXTENTS_MAX = 1 << 20
/** Most data that one read or write carries, in bytes, whatever the server offers. */
export const PAYLOAD_BYTES_MAX = 32 << 20
/** Longest range of one request without payload, in bytes: a round number below the 32-bit field. */
export const RANGE_BYTES_MAX = 2 ** 31

/** Bytes of a block status chunk in front of its extents: the context id. */
export const CONTEXT_ID_BYTES = 4
const STATUS_EXTENT_BYTES = 8
export const COMMAND = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6, blockStatus: 7 } as const
export type CommandName = keyof typeof COMMAND
/** Command flag: zeroed bytes stay allocated. */
export const COMMAND_FLAG_NO_HOLE = 1 << 1
/** Command flag: the data of a read comes in one chunk, or the server refuses with EOVERFLOW. */
export const COMMAND_FLAG_DONT_FRAGMENT = 1 << 2

export const REPLY_FLAG_DONE = 1 << 0
export const CHUNK = { none: 0, data: 1, hole: 2, blockStatus: 5 } as const
/** Chunk types of this bit are errors, known or not. */
export const CHUNK_ERROR = 1 << 15
const CHUNK_ERROR_OFFSET = CHUNK_ERROR + 2
/** Most bytes of an error chunk: number, text length, text, and room for the offset. */
export const ERROR_CHUNK_BYTES_MAX = 6 + STRING_BYTES_MAX + 8
export const STATUS_CHUNK_BYTES_MAX = CONTEXT_ID_BYTES + STATUS_EXTENTS_MAX * STATUS_EXTENT_BYTES

/** Flags of the `base:allocation` context. */
export const ALLOCATION_HOLE = 1 << 0
export const ALLOCATION_ZERO = 1 << 1
/** Flag of a `qemu:dirty-bitmap:NAME` context. */
export const BITMAP_DIRTY = 1 << 0

const ERRNO_NAMES: Readonly<Record<number, string>> = {
  1: 'EPERM',
  5: 'EIO',
  12: 'ENOMEM',
  22: 'EINVAL',
  28: 'ENOSPC',
  75: 'EOVERFLOW',
  95: 'ENOTSUP',
  108: 'ESHUTDOWN',
}

/** One extent of a context's map: `length` bytes that share `flags`. */
export interface StatusExtent {
  readonly length: number
  readonly flags: number
}

/** The error of a server that breaks the protocol; the connection is unusable after it. */
export const protocolError = (message: string, details: ErrorDetails = {}): VarveError =>
  new VarveError('NBD_PROTOCOL', `the NBD server broke the protocol: ${message}`, { details })

/** A 64-bit number; throws NBD_PROTOCOL, naming `what`, above 2^53. */
export const readUint64 = (bytes: Buffer, at: number, what: string): number => {
  const value = bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)
  if (!Number.isSafeInteger(value)) throw protocolError(`${what} is larger than 2^53`)
  return value
}

/** Writes a safe integer as a 64-bit number. */
export const writeUint64 = (bytes: Buffer, value: number, at: number): void => {
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32), at)
  bytes.writeUInt32BE(value % 2 ** 32, at + 4)
}

/** Throws NBD_PROTOCOL unless `what` has this many bytes. */
export const expectLength = (bytes: Buffer, length: number, what: string): void => {
  if (bytes.length !== length) throw protocolError(`${what} has ${bytes.length} bytes, not ${length}`)
}

/** The errno name of an NBD error number, `E<number>` for one that the protocol does not list. */
export const errnoName = (errno: number): string => ERRNO_NAMES[errno] ?? `E${errno}`

export interface NbdRequest {
  readonly command: CommandName
  readonly flags: number
  readonly offset: number
  readonly length: number
}

/** The 28 bytes of a request; `cookie` is any safe integer, and payload follows separately. */
export const encodeRequest = (request: NbdRequest, cookie: number): Buffer => {
  const bytes = Buffer.allocUnsafe(REQUEST_BYTES)
  bytes.writeUInt32BE(REQUEST_MAGIC, 0)
  bytes.writeUInt16BE(request.flags, 4)
  bytes.writeUInt16BE(COMMAND[request.command], 6)
  writeUint64(bytes, cookie, 8)
  writeUint64(bytes, request.offset, 16)
  bytes.writeUInt32BE(request.length, 24)
  return bytes
}

export type ReplyStart =
  | { readonly kind: 'simple'; readonly cookie: number; readonly errno: number }
  | { readonly kind: 'structured'; readonly cookie: number; readonly flags: number; readonly type: number }

/** The first 16 bytes of any reply; a structured one's payload length follows in 4 more. */
export const decodeReplyStart = (bytes: Buffer): ReplyStart => {
  const magic = bytes.readUInt32BE(0)
  const cookie = readUint64(bytes, 8, 'the cookie of a reply')
  if (magic === SIMPLE_REPLY_MAGIC) return { kind: 'simple', cookie, errno: bytes.readUInt32BE(4) }
  if (magic !== STRUCTURED_REPLY_MAGIC) throw protocolError('a reply has a wrong magic number')
  return { kind: 'structured', cookie, flags: bytes.readUInt16BE(4), type: bytes.readUInt16BE(6) }
}

/** The offset in front of a data chunk's data. */
export const decodeDataOffset = (bytes: Buffer): number => readUint64(bytes, 0, 'the offset of a data chunk')

/** A hole chunk: offset(8) length(4). */
export const decodeHole = (bytes: Buffer): { readonly offset: number; readonly length: number } => {
  expectLength(bytes, HOLE_BYTES, 'a hole chunk')
  return { offset: readUint64(bytes, 0, 'the offset of a hole chunk'), length: bytes.readUInt32BE(8) }
}

/** A block status chunk: context id(4), then per extent length(4) flags(4); extents past `length` bytes are clipped. */
export const decodeStatus = (bytes: Buffer, length: number): { contextId: number; extents: StatusExtent[] } => {
  const extentBytes = bytes.length - CONTEXT_ID_BYTES
  if (extentBytes < STATUS_EXTENT_BYTES || extentBytes % STATUS_EXTENT_BYTES !== 0) {
    throw protocolError(`a block status of ${bytes.length} bytes does not hold a whole number of extents`)
  }
  const extents: StatusExtent[] = []
  let left = length
  for (let at = CONTEXT_ID_BYTES; at < bytes.length; at += STATUS_EXTENT_BYTES) {
    const extentLength = bytes.readUInt32BE(at)
    if (extentLength === 0) throw protocolError('a block status holds an empty extent')
    if (left === 0) throw protocolError('a block status exceeds the range that was requested')
    // only the last extent may exceed the range, and what is beyond was not requested
    const clipped = Math.min(extentLength, left)
    extents.push({ length: clipped, flags: bytes.readUInt32BE(at + 4) })
    left -= clipped
  }
  return { contextId: bytes.readUInt32BE(0), extents }
}

/** An error chunk: error(4) text length(2) text, and offset(8) where the type says so. */
export const decodeErrorChunk = (bytes: Buffer, type: number): { readonly errno: number; readonly text: string } => {
  if (bytes.length < 6) throw protocolError('an error chunk is too short')
  const errno = bytes.readUInt32BE(0)
  const textEnd = 6 + bytes.readUInt16BE(4)
  const offsetBytes = type === CHUNK_ERROR_OFFSET ? 8 : 0
  // an unknown kind of error may carry more than its text
  const known = type === CHUNK_ERROR + 1 || type === CHUNK_ERROR_OFFSET
  if (errno === 0) throw protocolError('an error chunk has no error number')
  if (known ? bytes.length !== textEnd + offsetBytes : bytes.length < textEnd) {
    throw protocolError('an error chunk has a wrong length')
  }
  return { errno, text: bytes.toString('utf8', 6, textEnd) }
}
