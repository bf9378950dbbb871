// The structure of a zstd frame: where it ends and what it declares about its content (RFC 8878, section 3.1.1).

const MAGIC = 0xfd2fb528

// The frame header's descriptor.
const RESERVED_BIT = 0x08
const CHECKSUM_BIT = 0x04
const SINGLE_SEGMENT_BIT = 0x20
const DICTIONARY_BITS = 0x03

const DESCRIPTOR_OFFSET = 4

/** Largest window that a frame may ask for, in bytes: its decoder would hold as much. */
export const ZSTD_WINDOW_BYTES_MAX = 8 * 1024 * 1024

/** Window of exponent and mantissa 0, in bytes. */
const WINDOW_BYTES_MIN = 1024
const BLOCK_HEADER_BYTES = 3
const CHECKSUM_BYTES = 4

// Types of blocks; the fourth is reserved.
const BLOCK_RLE = 1
const BLOCK_RESERVED = 3

/** Length of the field with the content's size, by its flag; without a flag it is there only for a single segment. */
const SIZE_FIELD_BYTES = [0, 2, 4, 8] as const

/** Added to a content size of two bytes. */
const SHORT_SIZE_BASE = 256

const contentSize = (view: DataView, offset: number, bytes: number): number => {
  if (bytes === 1) return view.getUint8(offset)
  if (bytes === 2) return view.getUint16(offset, true) + SHORT_SIZE_BASE
  return bytes === 4 ? view.getUint32(offset, true) : Number(view.getBigUint64(offset, true))
}

/** Window of a frame that is not a single segment, in bytes; used only by decoders that decode in parts. */
const windowBytes = (descriptor: number): number => {
  const base = WINDOW_BYTES_MIN * 2 ** (descriptor >> 3)
  return base + (base / 8) * (descriptor & 7)
}

/** Where the blocks from `offset` on end, the frame's checksum not included. */
const blocksEnd = (view: DataView, offset: number): number => {
  for (let at = offset; ;) {
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16)
    const type = (header >> 1) & 3
    if (type === BLOCK_RESERVED) throw new RangeError('a block of a reserved type')
    at += BLOCK_HEADER_BYTES + (type === BLOCK_RLE ? 1 : header >> 3)
    if ((header & 1) === 1) return at
  }
}

const scan = (view: DataView, plainLength: number): boolean => {
  if (view.getUint32(0, true) !== MAGIC) return false
  const descriptor = view.getUint8(DESCRIPTOR_OFFSET)
  if ((descriptor & (RESERVED_BIT | DICTIONARY_BITS)) !== 0) return false
  const single = (descriptor & SINGLE_SEGMENT_BIT) !== 0
  const sizeOffset = DESCRIPTOR_OFFSET + (single ? 1 : 2)
  if (!single && windowBytes(view.getUint8(DESCRIPTOR_OFFSET + 1)) > ZSTD_WINDOW_BYTES_MAX) return false
  const flagged = SIZE_FIELD_BYTES[descriptor >> 6]!
  const sizeBytes = flagged === 0 && single ? 1 : flagged
  if (sizeBytes === 0 || contentSize(view, sizeOffset, sizeBytes) !== plainLength) return false
  const end = blocksEnd(view, sizeOffset + sizeBytes) + ((descriptor & CHECKSUM_BIT) === 0 ? 0 : CHECKSUM_BYTES)
  return end === view.byteLength
}

/**
 * Whether the bytes are exactly one zstd frame that declares `plainLength` bytes of content, needs no dictionary and has a
 * window of at most ZSTD_WINDOW_BYTES_MAX. The decoder checks its blocks and its checksum.
 * Decoding several such concatenated frames gives the same as decoding each alone.
 */
export const isOneFrame = (bytes: Uint8Array, plainLength: number): boolean => {
  try {
    return scan(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), plainLength)
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}
