// Chunks of one message: bundles of neighbours that are stored together, a table of their heads, and their stored bytes.
import {
  BUNDLE_BYTES_MAX,
  BUNDLE_PARTS_MAX,
  CHUNK_BYTES_MAX,
  CODEC,
  hex,
  ID_BYTES,
  isCodec,
  type Codec,
} from './chunk.ts'
import { VarveError } from './errors.ts'
import { isOneFrame } from './zstd-frame.ts'

/** One chunk of a bundle. */
export interface Part {
  /** 32 bytes; a view of the table where it was read. */
  readonly id: Uint8Array
  /** Length before the codec, in bytes. */
  readonly plainLength: number
}

/** The head of a bundle: chunks, at least one, whose plain bytes one behind the other went through the codec together. */
export interface BundleHead {
  readonly codec: Codec
  /** Length of its stored bytes. */
  readonly storedLength: number
  readonly parts: readonly Part[]
}

// The head of one bundle, big endian as msgpack's own numbers; the last two fields are there for each part:
//   offset 0   codec   u8
//          1   parts   u8
//          2   stored  u32
//          6   id      32
//          38  plain   u32
const PARTS_OFFSET = 1
const STORED_OFFSET = PARTS_OFFSET + 1

/** Bytes of a bundle's head before its parts. */
export const BUNDLE_HEAD_BYTES = STORED_OFFSET + 4

/** Bytes of one part in a bundle's head. */
export const PART_BYTES = ID_BYTES + 4

const headBytes = (parts: number): number => BUNDLE_HEAD_BYTES + parts * PART_BYTES

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Length of the parts before the codec, in bytes. */
export const plainLengthOf = (parts: readonly Part[]): number =>
  parts.reduce((sum, { plainLength }) => sum + plainLength, 0)

/** Whether parts of these lengths may be one bundle, stored as so many bytes. */
export const isBundle = (parts: readonly Part[], storedLength: number): boolean => {
  const plainLength = plainLengthOf(parts)
  const bytesMax = parts.length === 1 ? CHUNK_BYTES_MAX : BUNDLE_BYTES_MAX
  if (parts.length === 0 || parts.length > BUNDLE_PARTS_MAX || plainLength > bytesMax) return false
  return parts.every((part) => part.plainLength > 0) && storedLength > 0 && storedLength <= plainLength
}

/** The table of these heads. */
export const writeHeads = (heads: readonly BundleHead[]): Uint8Array<ArrayBuffer> => {
  const table = new Uint8Array(heads.reduce((sum, { parts }) => sum + headBytes(parts.length), 0))
  const view = viewOf(table)
  let at = 0
  for (const { codec, storedLength, parts } of heads) {
    view.setUint8(at, codec)
    view.setUint8(at + PARTS_OFFSET, parts.length)
    view.setUint32(at + STORED_OFFSET, storedLength)
    at += BUNDLE_HEAD_BYTES
    for (const { id, plainLength } of parts) {
      table.set(id, at)
      view.setUint32(at + ID_BYTES, plainLength)
      at += PART_BYTES
    }
  }
  return table
}

/** The heads of a table as far as they are whole, and where the last of them ends. */
const scan = (table: Uint8Array): { readonly heads: BundleHead[]; readonly end: number } => {
  const view = viewOf(table)
  const heads: BundleHead[] = []
  let end = 0
  while (end + BUNDLE_HEAD_BYTES <= table.length) {
    const first = end + BUNDLE_HEAD_BYTES
    const count = view.getUint8(end + PARTS_OFFSET)
    // without parts it is none, and a table of such heads would be many objects
    if (count === 0 || first + count * PART_BYTES > table.length) break
    const parts = Array.from({ length: count }, (_, index): Part => {
      const at = first + index * PART_BYTES
      return { id: table.subarray(at, at + ID_BYTES), plainLength: view.getUint32(at + ID_BYTES) }
    })
    heads.push({ codec: view.getUint8(end) as Codec, storedLength: view.getUint32(end + STORED_OFFSET), parts })
    end = first + count * PART_BYTES
  }
  return { heads, end }
}

/** The heads of a table that passed `areHeads`; their ids are views of it. */
export const readHeads = (table: Uint8Array): BundleHead[] => scan(table).heads

/** Whether a table holds whole heads with known codecs and lengths in their limits, for exactly so many stored bytes. */
export const areHeads = (table: Uint8Array, storedBytes: number): boolean => {
  const { heads, end } = scan(table)
  if (heads.length === 0 || end !== table.length) return false
  if (!heads.every(({ codec, parts, storedLength }) => isCodec(codec) && isBundle(parts, storedLength))) return false
  return heads.reduce((sum, { storedLength }) => sum + storedLength, 0) === storedBytes
}

/** One bundle of a message. */
export interface StoredBundle {
  readonly head: BundleHead
  readonly stored: Uint8Array
}

/** The bundles of a message in order; CHUNK_INVALID names the first chunk of one in zstd that is not one frame of its length. */
export function* storedBundles(heads: readonly BundleHead[], stored: Uint8Array): Generator<StoredBundle> {
  let from = 0
  for (const head of heads) {
    const bytes = stored.subarray(from, (from += head.storedLength))
    if (head.codec === CODEC.zstd && !isOneFrame(bytes, plainLengthOf(head.parts))) throw oddFrame(head)
    yield { head, stored: bytes }
  }
}

const oddFrame = ({ parts }: BundleHead): VarveError => {
  const id = hex(parts[0]!.id)
  return new VarveError(
    'CHUNK_INVALID',
    `the stored bytes of chunk ${id} are not exactly one zstd frame with a declared content of ${plainLengthOf(parts)} bytes`,
    { details: { id } },
  )
}
