// msgpack with sealed settings: plain values only, sizes and shape checked before anything is decoded.
import { Packr } from 'msgpackr'
import { VarveError } from './errors.ts'
import { FRAME_BYTES_MAX } from './limits.ts'
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

const pack = (value: unknown): Uint8Array => {
  try {
    return packr.pack(value)
  } catch (error) {
    throw new VarveError('FRAME_INVALID', 'the value cannot be written as msgpack', { cause: error })
  }
}

const checkSize = (bytes: number): void => {
  if (bytes > FRAME_BYTES_MAX)
    throw new VarveError('FRAME_TOO_LARGE', `a frame of ${bytes} bytes is over the limit of ${FRAME_BYTES_MAX}`)
}

/** The msgpack of a plain value; FRAME_TOO_LARGE or FRAME_INVALID for one that no peer would take. */
export const encode = (value: unknown): Uint8Array => {
  const bytes = pack(value)
  checkSize(bytes.length)
  scanMsgpack(bytes)
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
