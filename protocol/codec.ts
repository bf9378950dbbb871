// msgpack with sealed settings: plain values only, sizes and shape checked before anything is decoded.
import { Packr } from 'msgpackr'
import { VarveError } from './errors.ts'
import { FRAME_BYTES_MAX, FRAME_DEPTH_MAX } from './limits.ts'
import { scanMsgpack } from './scan.ts'

/** The part of msgpackr that is used, in types that a browser has too. */
interface Msgpack {
  pack(value: unknown): Uint8Array
  unpack(bytes: Uint8Array): unknown
}

// no records, no extensions, no bundling: what is written can be read by any msgpack library
const packr: Msgpack = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  moreTypes: false,
  bundleStrings: false,
  encodeUndefinedAsNil: true,
  variableMapSize: true,
  int64AsType: 'number',
  copyBuffers: false,
})

/** Bins from this size on bypass msgpackr, which would allocate four times their size; in bytes. */
const LARGE_BIN_BYTES = 16 * 1024

/** Bytes of the header of a large bin: its type and its length. */
const BIN32_HEADER_BYTES = 5

/** msgpackr's encoding of an empty bin. */
const EMPTY_BIN = Uint8Array.of(0xc4, 0)

/** The large bin at the end of a value, if any. */
const largeEnd = (value: unknown): Uint8Array | null => {
  let last = value
  for (let depth = 0; depth < FRAME_DEPTH_MAX && Array.isArray(last); depth++) last = last.at(-1)
  return last instanceof Uint8Array && last.length >= LARGE_BIN_BYTES ? last : null
}

const withEmptyEnd = (value: unknown): unknown => {
  if (!Array.isArray(value)) return new Uint8Array(0)
  const items: readonly unknown[] = value
  return [...items.slice(0, -1), withEmptyEnd(items.at(-1))]
}

/** The msgpack of a value that ends with a large bin, in a buffer of exactly its size. */
const packLarge = (value: unknown, end: Uint8Array): Uint8Array => {
  const packed = packr.pack(withEmptyEnd(value))
  const headBytes = packed.length - EMPTY_BIN.length
  const bytes = new Uint8Array(headBytes + BIN32_HEADER_BYTES + end.length)
  bytes.set(packed.subarray(0, headBytes))
  bytes[headBytes] = 0xc6
  new DataView(bytes.buffer).setUint32(headBytes + 1, end.length)
  bytes.set(end, headBytes + BIN32_HEADER_BYTES)
  return bytes
}

const pack = (value: unknown): Uint8Array => {
  try {
    const end = largeEnd(value)
    return end === null ? packr.pack(value) : packLarge(value, end)
  } catch (error) {
    throw new VarveError('FRAME_INVALID', 'the value cannot be written as msgpack', { cause: error })
  }
}

const checkSize = (bytes: number): void => {
  if (bytes > FRAME_BYTES_MAX)
    throw new VarveError('FRAME_TOO_LARGE', `a frame of ${bytes} bytes is over the limit of ${FRAME_BYTES_MAX}`)
}

/** The msgpack of a plain value; a large bin at its end gets its own buffer. FRAME_TOO_LARGE or FRAME_INVALID. */
export const encode = (value: unknown): Uint8Array => {
  const bytes = pack(value)
  checkSize(bytes.length)
  scanMsgpack(bytes, 'ourselves')
  return bytes
}

/** The value of exactly one msgpack item, bins being views of `bytes`; FRAME_TOO_LARGE or FRAME_INVALID otherwise. */
export const decode = (bytes: Uint8Array): unknown => {
  checkSize(bytes.length)
  scanMsgpack(bytes)
  try {
    return packr.unpack(bytes)
  } catch (error) {
    throw new VarveError('FRAME_INVALID', 'the frame is not valid msgpack', { cause: error })
  }
}
