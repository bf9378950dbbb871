// Checks encoded msgpack before it is decoded: bounds depth, counts and lengths without allocating anything.
import { VarveError } from './errors.ts'
import { FRAME_DEPTH_MAX, FRAME_ITEMS_MAX, STRING_BYTES_MAX } from './limits.ts'

const invalid = (what: string): VarveError => new VarveError('FRAME_INVALID', `the frame is not valid: ${what}`)

type Shape = { readonly kind: 'array' | 'map' | 'text' | 'skip'; readonly header: number; readonly count: number }

const shape = (kind: Shape['kind'], header: number, count: number): Shape => ({ kind, header, count })

/** What the type byte at `at` announces: the bytes of its header and how many bytes or items follow. */
const shapeAt = (view: DataView, at: number): Shape => {
  const type = view.getUint8(at)
  if (type <= 0x7f || type >= 0xe0) return shape('skip', 1, 0)
  if (type <= 0x8f) return shape('map', 1, type & 0x0f)
  if (type <= 0x9f) return shape('array', 1, type & 0x0f)
  if (type <= 0xbf) return shape('text', 1, type & 0x1f)
  switch (type) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return shape('skip', 1, 0)
    case 0xc4:
      return shape('skip', 2, view.getUint8(at + 1))
    case 0xc5:
      return shape('skip', 3, view.getUint16(at + 1))
    case 0xc6:
      return shape('skip', 5, view.getUint32(at + 1))
    case 0xca:
    case 0xce:
    case 0xd2:
      return shape('skip', 1, 4)
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return shape('skip', 1, 8)
    case 0xcc:
    case 0xd0:
      return shape('skip', 1, 1)
    case 0xcd:
    case 0xd1:
      return shape('skip', 1, 2)
    case 0xd9:
      return shape('text', 2, view.getUint8(at + 1))
    case 0xda:
      return shape('text', 3, view.getUint16(at + 1))
    case 0xdb:
      return shape('text', 5, view.getUint32(at + 1))
    case 0xdc:
      return shape('array', 3, view.getUint16(at + 1))
    case 0xdd:
      return shape('array', 5, view.getUint32(at + 1))
    case 0xde:
      return shape('map', 3, view.getUint16(at + 1))
    case 0xdf:
      return shape('map', 5, view.getUint32(at + 1))
    default:
      // 0xc1 is unused, the rest are extension types, which this protocol does not have
      throw invalid(`type byte 0x${type.toString(16)}`)
  }
}

const KEY_TEXT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Adds a map's next key to those before it. */
const takeKey = (keys: Set<string>, bytes: Uint8Array): void => {
  let key: string
  try {
    key = KEY_TEXT.decode(bytes)
  } catch {
    throw invalid('a map key that is not UTF-8')
  }
  if (keys.has(key)) throw invalid('a duplicate map key')
  keys.add(key)
}

/**
 * Throws FRAME_INVALID unless the bytes are exactly one msgpack value within the limits, with string map keys; in bytes of
 * `strangers` map keys must be unique, as readers could differ on which of two counts.
 */
export const scanMsgpack = (bytes: Uint8Array, from: 'ourselves' | 'strangers' = 'strangers'): void => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // items still to come on each level; for a map, keys and values alternate and an even rest means a key comes next
  const left: { count: number; map: boolean; keys: Set<string> | null }[] = [{ count: 1, map: false, keys: null }]
  let at = 0
  let items = 0
  while (left.length > 0) {
    const level = left.at(-1)!
    if (level.count === 0) {
      left.pop()
      continue
    }
    if (++items > FRAME_ITEMS_MAX) throw invalid('too many items')
    let next: Shape
    try {
      next = shapeAt(view, at)
    } catch (error) {
      if (error instanceof RangeError) throw invalid('truncated')
      throw error
    }
    const isKey = level.map && level.count % 2 === 0
    if (isKey && next.kind !== 'text') throw invalid('a map key that is not a string')
    level.count--
    at += next.header
    if (next.kind === 'array' || next.kind === 'map') {
      const count = next.kind === 'map' ? next.count * 2 : next.count
      // each item takes at least one byte, so a larger count cannot be true
      if (count > bytes.length - at) throw invalid('truncated')
      if (left.length > FRAME_DEPTH_MAX) throw invalid('nested too deeply')
      const map = next.kind === 'map'
      left.push({ count, map, keys: map && from === 'strangers' ? new Set() : null })
    } else {
      if (next.kind === 'text' && next.count > STRING_BYTES_MAX) throw invalid('a string is too long')
      at += next.count
      if (at > bytes.length) throw invalid('truncated')
      if (isKey && level.keys !== null) takeKey(level.keys, bytes.subarray(at - next.count, at))
    }
  }
  if (at !== bytes.length) throw invalid('bytes after its end')
}
