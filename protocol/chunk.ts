// Chunks and their ids: sizes, codecs, and the keyed hash that the host program supplies.
import { VarveError } from './errors.ts'

/** Bytes of a chunk id or a tree node id: a keyed BLAKE3. */
export const ID_BYTES = 32

/** Bytes of a tenant's id key. */
export const ID_KEY_BYTES = 32

/** Chunk size of a tenant unless it chose another, in bytes. */
export const CHUNK_BYTES_DEFAULT = 64 * 1024

/** Largest chunk size a tenant may choose, in bytes. */
export const CHUNK_BYTES_MAX = 4 * 1024 * 1024

/** Smallest chunk size a tenant may choose, in bytes. */
export const CHUNK_BYTES_MIN = 4 * 1024

/** Most plain bytes of chunks that are stored together, in bytes; one chunk alone may be longer. */
export const BUNDLE_BYTES_MAX = 256 * 1024

/** Most chunks that are stored together. */
export const BUNDLE_PARTS_MAX = 64

/** Neighbours that are stored together, of a disk with chunks of this size: they begin at a multiple of it. */
export const bundleParts = (chunkBytes: number): number =>
  Math.min(BUNDLE_PARTS_MAX, Math.max(1, Math.floor(BUNDLE_BYTES_MAX / chunkBytes)))

/** Largest disk, in bytes: 2^48, far inside the exact range of a number. */
export const DISK_BYTES_MAX = 2 ** 48

/** How a record's stored bytes are encoded. */
export const CODEC = { raw: 0, zstd: 1 } as const
export type Codec = (typeof CODEC)[keyof typeof CODEC]

export const isCodec = (value: number): value is Codec => value === CODEC.raw || value === CODEC.zstd

/** BLAKE3 keyed with 32 bytes, over the given pieces in order; 32 bytes. */
export type KeyedHash = (key: Uint8Array, ...pieces: readonly Uint8Array[]) => Uint8Array

export const isChunkBytes = (bytes: number): boolean =>
  Number.isInteger(Math.log2(bytes)) && bytes >= CHUNK_BYTES_MIN && bytes <= CHUNK_BYTES_MAX

/** Number of chunks of a disk; the last one may be short. */
export const chunkCount = (diskBytes: number, chunkBytes: number): number => Math.ceil(diskBytes / chunkBytes)

/** Plain length of the chunk at `position`, in bytes. */
export const chunkLength = (position: number, diskBytes: number, chunkBytes: number): number => {
  const length = Math.min(chunkBytes, diskBytes - position * chunkBytes)
  if (position < 0 || length <= 0) throw new VarveError('UPLOAD_INVALID', `chunk ${position} is outside the disk`)
  return length
}

export const hex = (id: Uint8Array): string => {
  let text = ''
  for (const byte of id) text += byte.toString(16).padStart(2, '0')
  return text
}

export const fromHex = (text: string): Uint8Array => {
  if (!/^(?:[0-9a-f]{2})*$/u.test(text)) throw new VarveError('PARAMS_INVALID', 'not lower-case hexadecimal')
  return Uint8Array.from(text.match(/../gu) ?? [], (pair) => Number.parseInt(pair, 16))
}

export const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
