// msgpack with sealed settings: plain values only, sizes and shape checked before anything is decoded.
import { Packr } from 'msgpackr'
import { VarveError } from './errors.ts'
import { FRAME_BYTES_MAX } from './limits.ts'
import { scanMsgpack } from './scan.ts'

// no records, no extensions, no bundling: what is written can be read by any msgpack library
const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  moreTypes: false,
  bundleStrings: false,
  encodeUndefinedAsNil: true,
  variableMapSize: true,
  int64AsType: 'number',
  copyBuffers: false,
})

/** The msgpack of a plain value; FRAME_TOO_LARGE past FRAME_BYTES_MAX. */
export const encode = (value: unknown): Uint8Array => {
  const bytes = packr.pack(value)
  if (bytes.length > FRAME_BYTES_MAX)
    throw new VarveError('FRAME_TOO_LARGE', `a frame of ${bytes.length} bytes is over the limit of ${FRAME_BYTES_MAX}`)
  return bytes
}

/** The value of exactly one msgpack item, bins being views of `bytes`; FRAME_TOO_LARGE or FRAME_INVALID otherwise. */
export const decode = (bytes: Uint8Array): unknown => {
  if (bytes.length > FRAME_BYTES_MAX)
    throw new VarveError('FRAME_TOO_LARGE', `a frame of ${bytes.length} bytes is over the limit of ${FRAME_BYTES_MAX}`)
  scanMsgpack(bytes)
  try {
    return packr.unpack(bytes)
  } catch (error) {
    throw new VarveError('FRAME_INVALID', 'the frame is not valid msgpack', { cause: error })
  }
}
