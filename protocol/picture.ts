// Pictures of screens: the one kind of PNG that is taken from a host, so that nothing else reaches a browser. Pure.

/** Widest and highest picture, in pixels. */
export const PICTURE_SIDE_MAX = 4096

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

/** Bytes of a chunk around its data: length, type, checksum. */
const CHUNK_BYTES = 12

const HEADER_BYTES = 13

/** Behind width and height: 8 bits a channel, red green blue, the only compression and filter, not interlaced. */
const KIND = [8, 2, 0, 0, 0]

/** The parts of a PNG by type and place of their data; null where they do not fill it exactly. */
const partsOf = (png: Uint8Array): { type: string; at: number; length: number }[] | null => {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength)
  const parts = []
  let at = SIGNATURE.length
  while (at < png.length) {
    if (at + CHUNK_BYTES > png.length) return null
    const length = view.getUint32(at)
    if (at + CHUNK_BYTES + length > png.length) return null
    parts.push({ type: String.fromCharCode(...png.subarray(at + 4, at + 8)), at: at + 8, length })
    at += CHUNK_BYTES + length
  }
  return parts
}

/**
 * Whether these bytes are a PNG of red, green and blue, of at most PICTURE_SIDE_MAX pixels a side, without a profile, a text or
 * anything behind its end.
 */
export const isPicture = (png: Uint8Array): boolean => {
  if (SIGNATURE.some((byte, index) => png[index] !== byte)) return false
  const parts = partsOf(png)
  const [header, ...rest] = parts ?? []
  if (header?.type !== 'IHDR' || header.length !== HEADER_BYTES) return false
  const end = rest.pop()
  if (end?.type !== 'IEND' || end.length !== 0 || rest.length === 0 || rest.some(({ type }) => type !== 'IDAT'))
    return false
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength)
  const sides = [view.getUint32(header.at), view.getUint32(header.at + 4)]
  return (
    sides.every((side) => side >= 1 && side <= PICTURE_SIDE_MAX) &&
    KIND.every((byte, index) => png[header.at + 8 + index] === byte)
  )
}
