// A chunk's way, step by step, as pure functions: read → hash → compress → frame, and back: group → decode → check. What seals
// chunks would be one more of the `packing` steps, and what opens them stands before `decode`.
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { CODEC, equalBytes, type Codec } from '../chunk.ts'
import { eachAlone, writeHeads, type ChunkGroup, type ChunkHead } from '../chunk-list.ts'
import { VarveError } from '../errors.ts'
import { freeBuffer } from '../memory.ts'
import { keyedHash } from './keyed-hash.ts'

/** What zstd may need beyond the plain length for bytes that do not compress. */
const ZSTD_MARGIN_BYTES = 4096

/** Largest zstd window accepted, as a power of two; larger ones would let a small chunk claim much memory. */
const ZSTD_WINDOW_LOG_MAX = 23

/** A chunk as it is on its way. */
export interface Packed {
  readonly codec: Codec
  readonly bytes: Uint8Array
}

/** What is done with a chunk after it is hashed; gives bytes of its own, or those that it was given. */
export type PackStep = (chunk: Packed) => Packed

/** zstd of this level, where that is smaller. */
const compress =
  (level: number): PackStep =>
  (chunk) => {
    const { length } = chunk.bytes
    const params = { [constants.ZSTD_c_compressionLevel]: level }
    // with its length known and room for the whole result, zstd takes a smaller table and one call
    const bytes = zstdCompressSync(chunk.bytes, {
      params,
      pledgedSrcSize: length,
      chunkSize: length + ZSTD_MARGIN_BYTES,
    })
    if (bytes.length < length) return { codec: CODEC.zstd, bytes }
    freeBuffer(bytes.buffer)
    return chunk
  }

/** The steps between the hash and the frame, in order. */
export const packing = (level: number): readonly PackStep[] => [compress(level)]

/** The chunk after all steps; what a step made for the next alone is freed. */
const pack = (plain: Uint8Array, steps: readonly PackStep[]): Packed => {
  let chunk: Packed = { codec: CODEC.raw, bytes: plain }
  for (const step of steps) {
    const next = step(chunk)
    if (next.bytes !== chunk.bytes) release(chunk, plain)
    chunk = next
  }
  return chunk
}

const release = ({ bytes }: Packed, plain: Uint8Array): void => {
  if (bytes !== plain) freeBuffer(bytes.buffer)
}

/** Chunks of one message: the table of their heads, and their stored bytes one behind the other. */
export interface Framed {
  readonly heads: Uint8Array
  readonly stored: Uint8Array<ArrayBuffer>
}

/** Packs chunks and puts them one behind the other, by way of `room`, which must hold their plain bytes. */
export const frame = (
  chunks: readonly { readonly id: Uint8Array; readonly plain: Uint8Array }[],
  steps: readonly PackStep[],
  room: Uint8Array,
): Framed => {
  let filled = 0
  const heads = chunks.map(({ id, plain }): ChunkHead => {
    const chunk = pack(plain, steps)
    room.set(chunk.bytes, filled)
    const { length: storedLength } = chunk.bytes
    filled += storedLength
    release(chunk, plain)
    return { id, codec: chunk.codec, plainLength: plain.length, storedLength }
  })
  return { heads: writeHeads(heads), stored: room.slice(0, filled) }
}

/** Plain bytes of stored ones; throws when they are not exactly `plainLength` long. */
export const decode = (codec: Codec, stored: Uint8Array, plainLength: number): Uint8Array => {
  const plain =
    codec === CODEC.raw
      ? stored
      : zstdDecompressSync(stored, {
          maxOutputLength: plainLength,
          // as large as the result, so that one call fills it; the margin also keeps it above zlib's smallest
          chunkSize: plainLength + ZSTD_MARGIN_BYTES,
          params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
        })
  if (plain.length !== plainLength) throw new VarveError('CHUNK_INVALID', 'the plain length is not what was said')
  return plain
}

/** Whether chunks that lie one behind the other are what their ids say. */
const haveIds = (heads: readonly ChunkHead[], plain: Uint8Array, idKey: Uint8Array): boolean => {
  let from = 0
  return heads.every(({ id, plainLength }) =>
    equalBytes(keyedHash(idKey, plain.subarray(from, (from += plainLength))), id),
  )
}

export interface Checking {
  readonly idKey: Uint8Array
  /**
   * Gets plain bytes that are what they say, and where they begin, counted from the offset of the group; they are gone when it
   * returns.
   */
  readonly take: (plain: Uint8Array, offset: number) => void
  /** The error for the first chunk that is not what it says. */
  readonly refusal: (id: Uint8Array, cause: unknown) => VarveError
}

const checkTogether = ({ heads, codec, stored, plainLength }: ChunkGroup, checking: Checking, offset: number): void => {
  const plain = decode(codec, stored, plainLength)
  const same = haveIds(heads, plain, checking.idKey)
  if (same) checking.take(plain, offset)
  if (codec !== CODEC.raw) freeBuffer(plain.buffer)
  if (!same) throw new VarveError('CHUNK_INVALID', 'its content has another id')
}

/** Decodes a group, by one call where all of it is what it says, and checks each chunk against its id. */
export const checkGroup = (group: ChunkGroup, checking: Checking, offset = 0): void => {
  try {
    checkTogether(group, checking, offset)
  } catch (cause) {
    if (group.heads.length === 1) throw checking.refusal(group.heads[0]!.id, cause)
    let from = offset
    for (const chunk of eachAlone(group)) {
      checkGroup(chunk, checking, from)
      from += chunk.plainLength
    }
  }
}
