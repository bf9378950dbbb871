// Pictures of screens: what QEMU writes becomes a PNG that is taken, small enough, and nothing else does.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { pictureOf } from '../../../agent/drill/screen.ts'
import { DRILL_PICTURE_BYTES_MAX } from '../../../protocol/limits.ts'
import { isPicture } from '../../../protocol/picture.ts'

const ppm = (width: number, height: number, pixels: Buffer = Buffer.alloc(width * height * 3, 7)): Buffer =>
  Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), pixels])

const sidesOf = (png: Uint8Array): number[] => {
  const view = new DataView(png.buffer, png.byteOffset)
  return [view.getUint32(16), view.getUint32(20)]
}

test('a screen becomes a picture of its size', () => {
  const png = pictureOf(ppm(720, 400))!
  expect(isPicture(png)).toBe(true)
  expect(sidesOf(png)).toEqual([720, 400])
})

test('one that does not compress is halved until it is small enough', () => {
  const png = pictureOf(ppm(1024, 768, randomBytes(1024 * 768 * 3)))!
  expect(isPicture(png)).toBe(true)
  expect(png.length).toBeLessThanOrEqual(DRILL_PICTURE_BYTES_MAX)
  expect(sidesOf(png)).toEqual([256, 192])
})

test('what is none makes none', () => {
  for (const bytes of [Buffer.from('P6\n2 2\n255\nabc'), Buffer.from('P5\n1 1\n255\na'), ppm(5000, 1), Buffer.alloc(0)])
    expect(pictureOf(bytes)).toBeNull()
})
