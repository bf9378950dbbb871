// A chunk's way, step by step: read → hash → bundle → compress → frame, and back: decode → check. What seals bundles would be
// one more of the PACKING steps, and what opens them stands before `decode`.
import { bundleParts, CODEC, equalBytes, type Codec } from '../chunk.ts'
import { plainLengthOf, storedBundles, writeHeads, type BundleHead, type Part } from '../chunk-list.ts'
import { VarveError } from '../errors.ts'
import { isOneFrame } from '../zstd-frame.ts'
import { ownBytes } from './bytes.ts'
import { keyedHash } from './keyed-hash.ts'
import { compressed, decompressed } from './zstd.ts'

/** A bundle as it is on its way. */
export interface Packed {
  readonly codec: Codec
  readonly bytes: Uint8Array
}

/** What is done with a bundle once its chunks are hashed; gives what it was given, or bytes that its next call may overwrite. */
export type PackStep = (bundle: Packed) => Packed

/** zstd, where that is smaller. */
const compress: PackStep = (bundle) => {
  const bytes = compressed(bundle.bytes)
  return bytes === null ? bundle : { codec: CODEC.zstd, bytes }
}

/** The steps between the hash and the frame, in order. */
export const PACKING: readonly PackStep[] = [compress]

/** A chunk of a disk, and its index there. */
export interface PlacedChunk {
  readonly id: Uint8Array
  readonly position: number
  readonly plain: Uint8Array
}

/** Chunks that are stored together, and their plain bytes one behind the other. */
export interface Bundle {
  readonly parts: readonly Part[]
  readonly plain: Uint8Array
}

/** Whether the second begins in memory where the first ends. */
const follows = (first: Uint8Array, second: Uint8Array): boolean =>
  first.buffer === second.buffer && first.byteOffset + first.length === second.byteOffset

/**
 * Ascending chunks in bundles: of neighbours, in memory as on the disk, each bundle within one group of as many as a bundle may
 * have. So what is read in groups unpacks each bundle once.
 */
export const bundlesOf = (chunks: readonly PlacedChunk[], chunkBytes: number): Bundle[] => {
  const most = bundleParts(chunkBytes)
  const bundles: { parts: Part[]; plain: Uint8Array }[] = []
  let last: PlacedChunk | null = null
  for (const chunk of chunks) {
    const { id, position, plain } = chunk
    const part = { id, plainLength: plain.length }
    const bundle = bundles.at(-1)
    if (
      bundle !== undefined &&
      last?.position === position - 1 &&
      position % most !== 0 &&
      follows(last.plain, plain)
    ) {
      const { buffer, byteOffset, length } = bundle.plain
      bundle.parts.push(part)
      bundle.plain = new Uint8Array(buffer, byteOffset, length + plain.length)
    } else bundles.push({ parts: [part], plain })
    last = chunk
  }
  return bundles
}

/** Bundles of one message: the table of their heads, and their stored bytes one behind the other. */
export interface Framed {
  readonly heads: Uint8Array
  readonly stored: Uint8Array<ArrayBuffer>
}

/** Packs a bundle; its bytes may be overwritten by the next call. */
export const pack = (plain: Uint8Array, steps: readonly PackStep[] = PACKING): Packed =>
  steps.reduce<Packed>((bundle, step) => step(bundle), { codec: CODEC.raw, bytes: plain })

/** Packs bundles and puts them one behind the other, by way of `room`, which must hold their plain bytes. */
export const frame = (bundles: readonly Bundle[], steps: readonly PackStep[], room: Uint8Array): Framed => {
  let filled = 0
  const heads = bundles.map(({ parts, plain }): BundleHead => {
    const { codec, bytes } = pack(plain, steps)
    room.set(bytes, filled)
    filled += bytes.length
    return { codec, storedLength: bytes.length, parts }
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

/** The plain bytes of each part, as views. */
export const splitParts = (parts: readonly Part[], plain: Uint8Array): Uint8Array[] => {
  let from = 0
  return parts.map(({ plainLength }) => plain.subarray(from, (from += plainLength)))
}

export interface Checking {
  readonly idKey: Uint8Array
  /** Gets plain bytes that are what they say, in order; they are gone when it returns. */
  readonly take: (plain: Uint8Array) => void
  /** The error for the first chunk that is not what it says; for a whole bundle that cannot be decoded its first one. */
  readonly refusal: (id: Uint8Array, cause: unknown) => VarveError
}

/** Decodes the bundles of a message and checks each chunk against its id. CHUNK_INVALID where one is not stored as it must be. */
export const checkChunks = (heads: readonly BundleHead[], stored: Uint8Array, checking: Checking): void => {
  for (const { head, stored: bytes } of storedBundles(heads, stored)) {
    const { codec, parts } = head
    let { id } = parts[0]!
    try {
      const plain = decodedView(codec, bytes, plainLengthOf(parts))
      for (const [index, content] of splitParts(parts, plain).entries()) {
        id = parts[index]!.id
        if (!equalBytes(keyedHash(checking.idKey, content), id))
          throw new VarveError('CHUNK_INVALID', 'its content has another id')
        checking.take(content)
      }
    } catch (cause) {
      throw checking.refusal(id, cause)
    }
  }
}
