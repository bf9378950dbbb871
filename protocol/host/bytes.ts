// Small helpers on byte arrays that cross threads or name things in maps.
import { ID_BYTES } from '../chunk.ts'

/** The same bytes in a buffer of exactly their size: a structured clone copies a view's whole buffer. */
export const ownBytes = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes)

/** So many bytes that the caller writes all of: what they hold before is whatever was in memory. */
export const freshBytes = (length: number): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)

/** The pieces, which have `length` bytes in all, one behind the other. */
export const joinBytes = (pieces: Iterable<Uint8Array>, length: number): Uint8Array<ArrayBuffer> => {
  const joined = freshBytes(length)
  let offset = 0
  for (const piece of pieces) {
    joined.set(piece, offset)
    offset += piece.length
  }
  if (offset !== length) throw new RangeError(`pieces of ${offset} bytes do not fill ${length}`)
  return joined
}

/** Concatenated ids, ID_BYTES each. */
export const joinIds = (ids: readonly Uint8Array[]): Uint8Array<ArrayBuffer> => joinBytes(ids, ids.length * ID_BYTES)

/** One of several concatenated ids, as a view. */
export const idAt = (ids: Uint8Array, index: number): Uint8Array =>
  ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)

/** All concatenated ids, as views. */
export const splitIds = (ids: Uint8Array): Uint8Array[] =>
  Array.from({ length: Math.floor(ids.length / ID_BYTES) }, (_, index) => idAt(ids, index))

/** An id as a map key. */
export const idName = (id: Uint8Array): string =>
  Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1')
