// The keyed BLAKE3 of both programs.
import { Blake3Hasher } from '@napi-rs/blake-hash'
import type { KeyedHash } from '../chunk.ts'

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** BLAKE3 keyed with 32 bytes, over the given pieces in order; 32 bytes. */
export const keyedHash: KeyedHash = (key, ...pieces) => {
  const hasher = Blake3Hasher.newKeyed(asBuffer(key))
  for (const piece of pieces) hasher.update(asBuffer(piece))
  // a copy: a small Buffer may be a view of a shared pool, which a structured clone would copy whole
  return new Uint8Array(hasher.digestBuffer())
}
