// Memory outside the JavaScript heap, given back when it is no longer needed and not when a collector comes to it.

/** Buffers up to this size may be pools that hold other things too, in bytes: Node's has 64 KiB and 64 bytes, msgpackr's less at first. */
const POOL_BYTES_MAX = 66 * 1024

const isLarge = (buffer: ArrayBufferLike): buffer is ArrayBuffer =>
  buffer instanceof ArrayBuffer && buffer.byteLength > POOL_BYTES_MAX

/** Whether bytes lie at the very end of a large buffer, and so have it to themselves: pools are small, and what msgpackr grows keeps a margin behind what it wrote. */
export const ownsBuffer = (bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> =>
  isLarge(bytes.buffer) && bytes.byteOffset + bytes.byteLength === bytes.buffer.byteLength

/**
 * Frees a large buffer at once, which is empty afterwards; a small one, which may be a pool, is left alone.
 * Without it many megabytes wait for a collection of the whole heap, which then comes for them alone, again and again.
 */
export const freeBuffer = (buffer: ArrayBufferLike): void => {
  if (isLarge(buffer)) buffer.transfer(0)
}

/** Frees bytes that have a large buffer to themselves. */
export const freeBytes = (bytes: Uint8Array): void => {
  if (ownsBuffer(bytes)) freeBuffer(bytes.buffer)
}
