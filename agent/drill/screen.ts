// A picture of a screen as QEMU writes it (PPM) and as it is kept (PNG), which QEMU writes by itself from 7.1 on only. Pure.
import { crc32, deflateSync } from 'node:zlib'
import { DRILL_PICTURE_BYTES_MAX } from '../../protocol/limits.ts'
import { PICTURE_SIDE_MAX } from '../../protocol/picture.ts'

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

/** Longest header of a PPM that is looked at, in bytes. */
const HEADER_BYTES_MAX = 64

/** Largest picture of QEMU's that is read, in bytes. */
export const SCREEN_BYTES_MAX = HEADER_BYTES_MAX + PICTURE_SIDE_MAX * PICTURE_SIDE_MAX * 3

/** Red, green and blue of each pixel, row by row. */
interface Pixels {
  readonly width: number
  readonly height: number
  readonly bytes: Uint8Array
}

const pixelsOf = (ppm: Uint8Array): Pixels | null => {
  const head = Buffer.from(ppm.subarray(0, HEADER_BYTES_MAX)).toString('latin1')
  const [all = '', width = '', height = ''] = /^P6\s(\d{1,5})\s(\d{1,5})\s255\s/u.exec(head) ?? []
  const sides = [Number(width), Number(height)] as const
  if (sides.some((side) => side < 1 || side > PICTURE_SIDE_MAX)) return null
  const bytes = ppm.subarray(all.length)
  return bytes.length === sides[0] * sides[1] * 3 ? { width: sides[0], height: sides[1], bytes } : null
}

/** Half as wide and high; each pixel is the mean of four. */
const halved = ({ width, height, bytes }: Pixels): Pixels => {
  const [wide, high] = [Math.max(1, width >> 1), Math.max(1, height >> 1)]
  const made = new Uint8Array(wide * high * 3)
  const [right, down] = [width > 1 ? 3 : 0, height > 1 ? width * 3 : 0]
  for (let y = 0, to = 0; y < high; y++)
    for (let x = 0; x < wide; x++)
      for (let colour = 0; colour < 3; colour++, to++) {
        const from = (y * 2 * width + x * 2) * 3 + colour
        made[to] = (bytes[from]! + bytes[from + right]! + bytes[from + down]! + bytes[from + right + down]!) >> 2
      }
  return { width: wide, height: high, bytes: made }
}

const part = (type: string, data: Uint8Array): Buffer => {
  const made = Buffer.alloc(12 + data.length)
  made.writeUInt32BE(data.length, 0)
  made.write(type, 4, 'latin1')
  made.set(data, 8)
  made.writeUInt32BE(crc32(made.subarray(4, 8 + data.length)), 8 + data.length)
  return made
}

const pngOf = ({ width, height, bytes }: Pixels): Buffer => {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 2, 0, 0, 0], 8)
  const row = width * 3
  // each row begins with the number of its filter: none
  const rows = new Uint8Array((row + 1) * height)
  for (let y = 0; y < height; y++) rows.set(bytes.subarray(y * row, (y + 1) * row), y * (row + 1) + 1)
  return Buffer.concat([
    SIGNATURE,
    part('IHDR', header),
    part('IDAT', deflateSync(rows)),
    part('IEND', new Uint8Array()),
  ])
}

/** The PNG of a picture of QEMU's, halved until it is small enough to be kept; null for what is none. */
export const pictureOf = (ppm: Uint8Array): Uint8Array | null => {
  let pixels = pixelsOf(ppm)
  while (pixels !== null) {
    const png = pngOf(pixels)
    if (png.length <= DRILL_PICTURE_BYTES_MAX) return new Uint8Array(png)
    pixels = halved(pixels)
  }
  return null
}
