// The NBD handshake on the wire: its numbers, its limits, and pure functions between messages and bytes.

import {
  CONTEXT_ID_BYTES,
  expectLength,
  PAYLOAD_BYTES_MAX,
  protocolError,
  readUint64,
  STRING_BYTES_MAX,
} from './wire.ts'

// All integers are big-endian.
//
//   greeting          server   NBDMAGIC(8) IHAVEOPT(8) flags(2)
//   client flags      client   flags(4)
//   option            client   IHAVEOPT(8) option(4) length(4) data(length)
//   option reply      server   magic(8) option(4) type(4) length(4) data(length)

export const GREETING_BYTES = 18
export const OPTION_REPLY_HEADER_BYTES = 20

export const NBD_MAGIC = 0x4e42444d41474943n
export const OPTION_MAGIC = 0x49484156454f5054n
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n

/** Most data in one option reply, in bytes: the longest string and the numbers around it. */
export const OPTION_REPLY_BYTES_MAX = STRING_BYTES_MAX + 64

const BLOCK_SIZE_MINIMUM_MAX = 65536

export const FIXED_NEWSTYLE = 1 << 0
export const NO_ZEROES = 1 << 1

export const OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
  extendedHeaders: 11,
} as const
export const OPTION_REPLY = { ack: 1, server: 2, info: 3, metaContext: 4 } as const
/** Option replies of this bit are refusals. */
export const OPTION_REPLY_ERROR = 0x80000000
const OPTION_ERRORS: Readonly<Record<number, string>> = {
  1: 'unsupported',
  2: 'policy',
  3: 'invalid',
  4: 'platform',
  5: 'tls-required',
  6: 'unknown-export',
  7: 'shutdown',
  8: 'block-size-required',
  9: 'too-big',
}

export const INFO_EXPORT = 0
export const INFO_BLOCK_SIZE = 3

/** What an export offers, from its transmission flags. */
export interface NbdFlags {
  readonly readOnly: boolean
  readonly canFlush: boolean
  readonly canFua: boolean
  readonly canTrim: boolean
  readonly canWriteZeroes: boolean
  readonly canDontFragment: boolean
  readonly multiConn: boolean
}

/** Request sizes in bytes: offsets and lengths are multiples of `minimum`, no payload is longer than `maximum`. */
export interface NbdBlockSize {
  readonly minimum: number
  readonly preferred: number
  readonly maximum: number
}

/** Block sizes of a server that announces none. */
export const BLOCK_SIZE_DEFAULT: NbdBlockSize = { minimum: 1, preferred: 4096, maximum: PAYLOAD_BYTES_MAX }

/** The name of an option refusal, `error-<number>` for one that the protocol does not list. */
export const optionErrorName = (type: number): string => {
  const number = type & 0x7fffffff
  return OPTION_ERRORS[number] ?? `error-${number}`
}

/** Checks the greeting and gives the client flags to answer with. */
export const answerGreeting = (greeting: Buffer): Buffer => {
  expectLength(greeting, GREETING_BYTES, 'the greeting')
  if (greeting.readBigUInt64BE(0) !== NBD_MAGIC) throw protocolError("the greeting is not NBD's")
  if (greeting.readBigUInt64BE(8) !== OPTION_MAGIC) throw protocolError('the server only speaks the oldstyle handshake')
  const flags = greeting.readUInt16BE(16)
  if ((flags & FIXED_NEWSTYLE) === 0) throw protocolError('the server does not speak the fixed newstyle handshake')
  const answer = Buffer.alloc(4)
  answer.writeUInt32BE(FIXED_NEWSTYLE | (flags & NO_ZEROES))
  return answer
}

export const encodeOption = (option: number, data: Buffer = Buffer.alloc(0)): Buffer => {
  const header = Buffer.alloc(16)
  header.writeBigUInt64BE(OPTION_MAGIC, 0)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(data.length, 12)
  return Buffer.concat([header, data])
}

const encodeString = (text: string): Buffer => {
  const bytes = Buffer.from(text)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

/** SET_META_CONTEXT: name length(4) name, query count(4), then per query length(4) and text. */
export const encodeSetMetaContext = (exportName: string, contexts: readonly string[]): Buffer => {
  const count = Buffer.alloc(4)
  count.writeUInt32BE(contexts.length)
  return encodeOption(
    OPTION.setMetaContext,
    Buffer.concat([encodeString(exportName), count, ...contexts.map(encodeString)]),
  )
}

/** GO: name length(4) name, count of information requests(2), then each(2); we request the block sizes. */
export const encodeGo = (exportName: string): Buffer => {
  const wanted = Buffer.alloc(4)
  wanted.writeUInt16BE(1, 0)
  wanted.writeUInt16BE(INFO_BLOCK_SIZE, 2)
  return encodeOption(OPTION.go, Buffer.concat([encodeString(exportName), wanted]))
}

interface OptionReplyHeader {
  readonly type: number
  readonly length: number
}

/** The header of an answer to `option`; the length is within OPTION_REPLY_BYTES_MAX. */
export const decodeOptionReplyHeader = (header: Buffer, option: number): OptionReplyHeader => {
  expectLength(header, OPTION_REPLY_HEADER_BYTES, 'an option reply')
  if (header.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) throw protocolError('an option reply has a wrong magic number')
  const answered = header.readUInt32BE(8)
  if (answered !== option) throw protocolError(`option ${option} was answered as option ${answered}`)
  const length = header.readUInt32BE(16)
  if (length > OPTION_REPLY_BYTES_MAX) throw protocolError(`an option reply of ${length} bytes is too long`)
  return { type: header.readUInt32BE(12), length }
}

export interface MetaContext {
  readonly id: number
  readonly name: string
}

export const decodeMetaContext = (data: Buffer): MetaContext => {
  if (data.length < CONTEXT_ID_BYTES) throw protocolError('a context reply is too short')
  return { id: data.readUInt32BE(0), name: data.toString('utf8', CONTEXT_ID_BYTES) }
}

export type NbdInfo =
  | { readonly kind: 'export'; readonly size: number; readonly flags: NbdFlags }
  | { readonly kind: 'blockSize'; readonly blockSize: NbdBlockSize }
  | { readonly kind: 'other' }

const decodeFlags = (bits: number): NbdFlags => {
  const has = (bit: number): boolean => (bits & (1 << bit)) !== 0
  if (!has(0)) throw protocolError('the export has no transmission flags')
  return {
    readOnly: has(1),
    canFlush: has(2),
    canFua: has(3),
    canTrim: has(5),
    canWriteZeroes: has(6),
    canDontFragment: has(7),
    multiConn: has(8),
  }
}

const decodeBlockSize = (data: Buffer): NbdBlockSize => {
  const minimum = data.readUInt32BE(2)
  const preferred = data.readUInt32BE(6)
  const offered = data.readUInt32BE(10)
  const powerOfTwo = minimum > 0 && (minimum & (minimum - 1)) === 0
  if (!powerOfTwo || minimum > BLOCK_SIZE_MINIMUM_MAX || preferred < minimum || offered < minimum) {
    throw protocolError(`block sizes ${minimum}, ${preferred}, ${offered} are invalid`)
  }
  const maximum = Math.min(offered, PAYLOAD_BYTES_MAX)
  return { minimum, preferred, maximum: maximum - (maximum % minimum) }
}

/** One piece of information about the export; kinds that were not requested are `other`. */
export const decodeInfo = (data: Buffer): NbdInfo => {
  if (data.length < 2) throw protocolError('export information is too short')
  const type = data.readUInt16BE(0)
  if (type === INFO_EXPORT) {
    expectLength(data, 12, 'the export information')
    const size = readUint64(data, 2, 'the export size')
    return { kind: 'export', size, flags: decodeFlags(data.readUInt16BE(10)) }
  }
  if (type === INFO_BLOCK_SIZE) {
    expectLength(data, 14, 'the block size information')
    return { kind: 'blockSize', blockSize: decodeBlockSize(data) }
  }
  return { kind: 'other' }
}
