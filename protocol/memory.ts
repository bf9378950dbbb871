// Frees memory outside the JavaScript heap as soon as it is no longer needed, without waiting for garbage collection.

/** Buffers up to this size may be shared pools, in bytes: Node's has 64 KiB and 64 bytes, msgpackr's less at first. */
const POOL_BYTES_MAX = 66 * 1024

const isLarge = (buffer: ArrayBufferLike): buffer is ArrayBuffer =>
  buffer instanceof ArrayBuffer && buffer.byteLength > POOL_BYTES_MAX

/** Whether bytes end a large buffer and so own it: pools are small, and msgpackr's buffers keep a margin behind what it wrote. */
export const ownsBuffer = (bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> =>
  isLarge(bytes.buffer) && bytes.byteOffset + bytes.byteLength === bytes.buffer.byteLength

/**
 * Frees a large buffer at once, which is empty afterwards; a small one, which may be a pool, is kept. Without it many
 * megabytes wait for a full garbage collection, which they then trigger again and again.
 */
export const freeBuffer = (buffer: ArrayBufferLike): void => {
  if (isLarge(buffer)) buffer.transfer(0)
}

/** Frees bytes that own a large buffer. */
export const freeBytes = (bytes: Uint8Array): void => {
  if (ownsBuffer(bytes)) freeBuffer(bytes.buffer)
}
