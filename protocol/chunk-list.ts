// Chunks of one message: a table of their heads, and their concatenated stored bytes.
import { CHUNK_BYTES_MAX, CODEC, hex, ID_BYTES, isCodec, type Codec } from './chunk.ts'
import { VarveError } from './errors.ts'
import { isOneFrame } from './zstd-frame.ts'

/** The head of one chunk. */
export interface ChunkHead {
  /** 32 bytes; a view of the table where it was read. */
  readonly id: Uint8Array
  readonly codec: Codec
  /** Length before the codec, in bytes. */
  readonly plainLength: number
  /** Length of its stored bytes. */
  readonly storedLength: number
}

// One entry of the table, big endian as msgpack's own numbers:
//   offset 0   id      32
//          32  codec   u8
//          33  plain   u32
//          37  stored  u32
const CODEC_OFFSET = ID_BYTES
const PLAIN_OFFSET = CODEC_OFFSET + 1
const STORED_OFFSET = PLAIN_OFFSET + 4

/** Bytes of one chunk's head. */
export const CHUNK_HEAD_BYTES = STORED_OFFSET + 4

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** The table of these heads. */
export const writeHeads = (heads: readonly ChunkHead[]): Uint8Array<ArrayBuffer> => {
  const table = new Uint8Array(heads.length * CHUNK_HEAD_BYTES)
  const view = viewOf(table)
  for (const [index, { id, codec, plainLength, storedLength }] of heads.entries()) {
    const at = index * CHUNK_HEAD_BYTES
    table.set(id, at)
    view.setUint8(at + CODEC_OFFSET, codec)
    view.setUint32(at + PLAIN_OFFSET, plainLength)
    view.setUint32(at + STORED_OFFSET, storedLength)
  }
  return table
}

/** The heads of a table that passed `areHeads`; their ids are views of it. */
export const readHeads = (table: Uint8Array): ChunkHead[] => {
  const view = viewOf(table)
  return Array.from({ length: Math.floor(table.length / CHUNK_HEAD_BYTES) }, (_, index): ChunkHead => {
    const at = index * CHUNK_HEAD_BYTES
    return {
      id: table.subarray(at, at + ID_BYTES),
      codec: view.getUint8(at + CODEC_OFFSET) as Codec,
      plainLength: view.getUint32(at + PLAIN_OFFSET),
      storedLength: view.getUint32(at + STORED_OFFSET),
    }
  })
}

/** Whether a table holds whole heads with known codecs and lengths in their limits, for exactly so many stored bytes. */
export const areHeads = (table: Uint8Array, storedBytes: number): boolean => {
  if (table.length === 0 || table.length % CHUNK_HEAD_BYTES !== 0) return false
  let sum = 0
  for (const { codec, plainLength, storedLength } of readHeads(table)) {
    if (!isCodec(codec) || plainLength === 0 || plainLength > CHUNK_BYTES_MAX) return false
    if (storedLength === 0 || storedLength > plainLength) return false
    sum += storedLength
  }
  return sum === storedBytes
}

/** One chunk of a message. */
export interface StoredChunk {
  readonly head: ChunkHead
  readonly stored: Uint8Array
}

/** The chunks of a message in order; CHUNK_INVALID names the first zstd chunk that is not one frame of its length. */
export function* storedChunks(heads: readonly ChunkHead[], stored: Uint8Array): Generator<StoredChunk> {
  let from = 0
  for (const head of heads) {
    const bytes = stored.subarray(from, (from += head.storedLength))
    if (head.codec === CODEC.zstd && !isOneFrame(bytes, head.plainLength)) throw oddFrame(head)
    yield { head, stored: bytes }
  }
}

const oddFrame = ({ id, plainLength }: ChunkHead): VarveError =>
  new VarveError(
    'CHUNK_INVALID',
    `the stored bytes of chunk ${hex(id)} are not exactly one zstd frame with a declared content of ${plainLength} bytes`,
    { details: { id: hex(id) } },
  )
