// Every byte of a pack file: its header and its records, encoded and parsed. FORMATS.md has the same tables.
import { crc32 } from 'node:zlib'
import { BUNDLE_PARTS_MAX, CHUNK_BYTES_MAX, ID_BYTES, isCodec, type Codec } from '../../protocol/chunk.ts'
import { isBundle, PART_BYTES, type Part } from '../../protocol/chunk-list.ts'
import { VarveError } from '../../protocol/errors.ts'

/** Version of the datastore's formats; a datastore of another version is refused with STORE_VERSION. */
export const FORMAT_VERSION = 2

/** Largest pack, in bytes. */
export const PACK_BYTES_MAX = 64 * 1024 * 1024

/** Largest plain content of a record, in bytes. */
export const RECORD_PLAIN_BYTES_MAX = CHUNK_BYTES_MAX

/** What a pack holds: chunks, or everything else. */
export type PackKind = 'data' | 'nodes'

/** What a record holds; of chunks as many as are stored together. */
export const RECORD = { chunk: 1, node: 2, manifest: 3, state: 4 } as const
export type RecordType = (typeof RECORD)[keyof typeof RECORD]

// Pack header, little endian:
//   offset 0   magic    8   "VARVEPK1"
//          8   version  u16
//          10  kind     u8  1 data, 2 nodes
//          11  zero     u8
//          12  tenant   16  uuid
//          28  pack     16  uuid
//          44  crc32    u32 of bytes 0..43
const PACK_MAGIC = Buffer.from('VARVEPK1', 'latin1')
const KIND_BYTE = { data: 1, nodes: 2 } as const
const PACK_CRC_OFFSET = 44

/** Bytes of a pack's header. */
export const PACK_HEADER_BYTES = 48

// Record, little endian; the fields of a part are there for each:
//   offset 0   magic    4   "VREC"
//          4   crc32    u32 of bytes 8 to the record's end, stored bytes included
//          8   type     u8  1 chunks, 2 node, 3 manifest, 4 state
//          9   codec    u8  0 raw, 1 zstd
//          10  parts    u16 more than one only of chunks
//          12  stored   u32 length of the stored bytes
//          16  id       32  of the part
//          48  plain    u32 length of the part before the codec
//          stored bytes
const RECORD_MAGIC = 0x43_45_52_56
const RECORD_CRC_START = 8

/** The first bytes of a record, by which one is found after damage. */
export const RECORD_MAGIC_BYTES = Buffer.from('VREC', 'latin1')

/** Bytes of a record before its parts. */
const RECORD_FIXED_BYTES = 16

/** Bytes of a record before its stored bytes. */
export const recordHeaderBytes = (parts: number): number => RECORD_FIXED_BYTES + parts * PART_BYTES

/** The same of a record of one part, and the most that they are. */
export const RECORD_HEADER_BYTES = recordHeaderBytes(1)
export const RECORD_HEADER_BYTES_MAX = recordHeaderBytes(BUNDLE_PARTS_MAX)

export interface PackHeader {
  readonly kind: PackKind
  /** Uuid in lower case with hyphens. */
  readonly tenant: string
  /** Uuid in lower case with hyphens. */
  readonly pack: string
}

/** What a record says of itself: chunks that are stored together, or one of anything else. */
export interface RecordHeader {
  readonly type: RecordType
  readonly codec: Codec
  /** Their plain bytes lie one behind the other before the codec. */
  readonly parts: readonly Part[]
  readonly storedLength: number
}

/** Where a part of a record is, and what the record holds. */
export interface RecordLocation {
  /** The pack's uuid. */
  readonly pack: string
  /** Where the record begins. */
  readonly offset: number
  readonly storedLength: number
  readonly codec: Codec
  readonly type: RecordType
  /** Parts of the record, and which of them it is. */
  readonly parts: number
  readonly place: number
  /** Of the part, in bytes. */
  readonly plainLength: number
}

export interface StoredRecord extends RecordHeader {
  /** A view of the parsed bytes. */
  readonly stored: Uint8Array
}

const UUID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/u

export const isUuid = (text: string): boolean => UUID_PATTERN.test(text)

const uuidBytes = (uuid: string): Buffer => {
  if (!isUuid(uuid)) throw new VarveError('INTERNAL', 'a pack needs a lower-case uuid')
  return Buffer.from(uuid.replaceAll('-', ''), 'hex')
}

const uuidText = (bytes: Buffer): string =>
  bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/u, '$1-$2-$3-$4-$5')

const damaged = (message: string): VarveError => new VarveError('DATA_DAMAGED', message)

const viewOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export const encodePackHeader = (header: PackHeader): Uint8Array => {
  const bytes = Buffer.alloc(PACK_HEADER_BYTES)
  PACK_MAGIC.copy(bytes, 0)
  bytes.writeUInt16LE(FORMAT_VERSION, 8)
  bytes.writeUInt8(KIND_BYTE[header.kind], 10)
  uuidBytes(header.tenant).copy(bytes, 12)
  uuidBytes(header.pack).copy(bytes, 28)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, PACK_CRC_OFFSET)), PACK_CRC_OFFSET)
  return bytes
}

/** The header at the start of these bytes; DATA_DAMAGED when it is not one, STORE_VERSION for one of another format. */
export const parsePackHeader = (bytes: Uint8Array): PackHeader => {
  const view = viewOf(bytes)
  if (view.length < PACK_HEADER_BYTES || !view.subarray(0, PACK_MAGIC.length).equals(PACK_MAGIC))
    throw damaged('a pack does not begin with a pack header')
  if (crc32(view.subarray(0, PACK_CRC_OFFSET)) !== view.readUInt32LE(PACK_CRC_OFFSET))
    throw damaged('the checksum of a pack header does not match')
  const version = view.readUInt16LE(8)
  if (version !== FORMAT_VERSION)
    throw new VarveError('STORE_VERSION', `a pack has version ${version}, this program knows only ${FORMAT_VERSION}`)
  const kind = view.readUInt8(10)
  if ((kind !== KIND_BYTE.data && kind !== KIND_BYTE.nodes) || view.readUInt8(11) !== 0)
    throw damaged('a pack header has unknown values')
  return {
    kind: kind === KIND_BYTE.data ? 'data' : 'nodes',
    tenant: uuidText(view.subarray(12, 28)),
    pack: uuidText(view.subarray(28, 44)),
  }
}

/** Bytes of a record with so many stored bytes. */
export const recordBytes = (storedLength: number, parts = 1): number => recordHeaderBytes(parts) + storedLength

/**
 * The share that one part has in the bytes of its record: as large as that of each other one, but for a byte, so that the shares
 * of all parts are the whole record.
 */
export const shareOf = ({
  storedLength,
  parts,
  place,
}: Pick<RecordLocation, 'storedLength' | 'parts' | 'place'>): number => {
  const bytes = recordBytes(storedLength, parts)
  return Math.floor((bytes * (place + 1)) / parts) - Math.floor((bytes * place) / parts)
}

/** Writes a record into `target` at `offset`; returns the offset of its end. */
export const writeRecord = (
  target: Buffer,
  offset: number,
  { type, codec, parts }: Omit<RecordHeader, 'storedLength'>,
  stored: Uint8Array,
): number => {
  const end = offset + recordBytes(stored.length, parts.length)
  target.writeUInt32LE(RECORD_MAGIC, offset)
  target.writeUInt8(type, offset + 8)
  target.writeUInt8(codec, offset + 9)
  target.writeUInt16LE(parts.length, offset + 10)
  target.writeUInt32LE(stored.length, offset + 12)
  let at = offset + RECORD_FIXED_BYTES
  for (const { id, plainLength } of parts) {
    target.set(id, at)
    target.writeUInt32LE(plainLength, at + ID_BYTES)
    at += PART_BYTES
  }
  target.set(stored, at)
  target.writeUInt32LE(crc32(target.subarray(offset + RECORD_CRC_START, end)), offset + 4)
  return end
}

const isRecordType = (value: number): value is RecordType => value >= RECORD.chunk && value <= RECORD.state

/** True when records of this type belong into packs of this kind. */
export const fitsPack = (kind: PackKind, type: RecordType): boolean => (type === RECORD.chunk) === (kind === 'data')

/**
 * The header of the record at `offset`, with every value in its limits; the checksum is not looked at. RECORD_HEADER_BYTES_MAX
 * bytes are enough for it. DATA_DAMAGED.
 */
export const parseRecordHeader = (bytes: Uint8Array, offset: number): RecordHeader => {
  const view = viewOf(bytes)
  if (view.length < offset + RECORD_HEADER_BYTES || view.readUInt32LE(offset) !== RECORD_MAGIC)
    throw damaged('there is no record where one should begin')
  const type = view.readUInt8(offset + 8)
  const codec = view.readUInt8(offset + 9)
  const count = view.readUInt16LE(offset + 10)
  const storedLength = view.readUInt32LE(offset + 12)
  const many = count > 1 && (type !== RECORD.chunk || count > BUNDLE_PARTS_MAX)
  if (!isRecordType(type) || !isCodec(codec) || count === 0 || many) throw damaged('a record header has unknown values')
  if (view.length < offset + recordHeaderBytes(count)) throw damaged('a record is cut short')
  const parts = Array.from({ length: count }, (_, index): Part => {
    const at = offset + recordHeaderBytes(index)
    return { id: view.subarray(at, at + ID_BYTES), plainLength: view.readUInt32LE(at + ID_BYTES) }
  })
  if (!isBundle(parts, storedLength)) throw damaged('a record header has lengths past the limits')
  return { type, codec, parts, storedLength }
}

/** The record at `offset`, its checksum checked; DATA_DAMAGED. */
export const parseRecord = (bytes: Uint8Array, offset: number): StoredRecord => {
  const header = parseRecordHeader(bytes, offset)
  const view = viewOf(bytes)
  const end = offset + recordBytes(header.storedLength, header.parts.length)
  if (view.length < end) throw damaged('a record is cut short')
  if (crc32(view.subarray(offset + RECORD_CRC_START, end)) !== view.readUInt32LE(offset + 4))
    throw damaged('the checksum of a record does not match')
  return { ...header, stored: view.subarray(offset + recordHeaderBytes(header.parts.length), end) }
}
