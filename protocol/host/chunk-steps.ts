// A chunk's way, step by step: read → hash → compress → frame, and back: decode → check. What seals chunks would be one more of
// the `packing` steps, and what opens them stands before `decode`.
import { CODEC, equalBytes, type Codec } from '../chunk.ts'
import { storedChunks, writeHeads, type ChunkHead } from '../chunk-list.ts'
import { VarveError } from '../errors.ts'
import { isOneFrame } from '../zstd-frame.ts'
import { ownBytes } from './bytes.ts'
import { keyedHash } from './keyed-hash.ts'
import { compressed, decompressed } from './zstd.ts'

/** A chunk as it is on its way. */
export interface Packed {
  readonly codec: Codec
  readonly bytes: Uint8Array
}

/** What is done with a chunk after it is hashed; gives what it was given, or bytes that its next call may overwrite. */
export type PackStep = (chunk: Packed) => Packed

/** zstd of this level, where that is smaller. */
const compress =
  (level: number): PackStep =>
  (chunk) => {
    const bytes = compressed(chunk.bytes, level)
    return bytes === null ? chunk : { codec: CODEC.zstd, bytes }
  }

/** The steps between the hash and the frame, in order. */
export const packing = (level: number): readonly PackStep[] => [compress(level)]

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
    const { codec, bytes } = steps.reduce<Packed>((chunk, step) => step(chunk), { codec: CODEC.raw, bytes: plain })
    room.set(bytes, filled)
    filled += bytes.length
    return { id, codec, plainLength: plain.length, storedLength: bytes.length }
  })
  return { heads: writeHeads(heads), stored: room.slice(0, filled) }
}

/**
 * Plain bytes of stored ones: these themselves, or a view that the next call of this thread overwrites. Throws when they are not
 * exactly `plainLength` long, or are not exactly one zstd frame.
 */
export const decodedView = (codec: Codec, stored: Uint8Array, plainLength: number): Uint8Array => {
  const odd = codec === CODEC.zstd && !isOneFrame(stored, plainLength)
  const plain = odd ? null : codec === CODEC.raw ? stored : decompressed(stored, plainLength)
  if (plain?.length !== plainLength) throw new VarveError('CHUNK_INVALID', 'the plain length is not what was said')
  return plain
}

/** The same in bytes of their own, where they are not the stored ones. */
export const decode = (codec: Codec, stored: Uint8Array, plainLength: number): Uint8Array => {
  const plain = decodedView(codec, stored, plainLength)
  return codec === CODEC.raw ? plain : ownBytes(plain)
}

export interface Checking {
  readonly idKey: Uint8Array
  /** Gets plain bytes that are what they say, in order; they are gone when it returns. */
  readonly take: (plain: Uint8Array) => void
  /** The error for the first chunk that is not what it says. */
  readonly refusal: (id: Uint8Array, cause: unknown) => VarveError
}

/** Decodes the chunks of a message and checks each against its id. CHUNK_INVALID where one is not stored as it must be. */
export const checkChunks = (heads: readonly ChunkHead[], stored: Uint8Array, checking: Checking): void => {
  for (const { head, stored: bytes } of storedChunks(heads, stored)) {
    try {
      const plain = decodedView(head.codec, bytes, head.plainLength)
      if (!equalBytes(keyedHash(checking.idKey, plain), head.id))
        throw new VarveError('CHUNK_INVALID', 'its content has another id')
      checking.take(plain)
    } catch (cause) {
      throw checking.refusal(head.id, cause)
    }
  }
}
