// Pictures that are taken from hosts: one kind of PNG, and nothing in, behind or beside it.
import { expect, test } from 'vitest'
import { pictureOf } from '../../agent/drill/screen.ts'
import { isPicture } from '../../protocol/picture.ts'

const PNG = Buffer.from(pictureOf(Buffer.from('P6\n2 1\n255\nabcdef'))!)

const changed = (at: number, byte: number): Buffer => {
  const bytes = Buffer.from(PNG)
  bytes[at] = byte
  return bytes
}

const part = (type: string, data: string): Buffer => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(data.length)
  return Buffer.concat([length, Buffer.from(type), Buffer.from(data), Buffer.alloc(4)])
}

test('one of the kind is taken, also within other bytes', () => {
  expect(isPicture(PNG)).toBe(true)
  expect(isPicture(Buffer.concat([Buffer.from('xyz'), PNG]).subarray(3))).toBe(true)
})

test('anything else is not', () => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('<svg onload=alert(1)>'),
    PNG.subarray(0, -1),
    Buffer.concat([PNG, Buffer.from('<script>')]),
    Buffer.concat([PNG.subarray(0, 33), part('tEXt', 'Comment\0x'), PNG.subarray(33)]),
    Buffer.concat([PNG.subarray(0, 33), PNG.subarray(-12)]),
    changed(0, 0),
    // width, kind of colours, interlacing, length of a part
    changed(16, 0xff),
    changed(25, 3),
    changed(28, 1),
    changed(33, 0x7f),
  ])
    expect(isPicture(bytes)).toBe(false)
})
