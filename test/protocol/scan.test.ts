// The look over msgpack before it is decoded: every type byte, every bound. Method: bytes made by hand, and agreement with
// the codec.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encode } from '../../protocol/codec.ts'
import { FRAME_DEPTH_MAX, FRAME_ITEMS_MAX, STRING_BYTES_MAX } from '../../protocol/limits.ts'
import { scanMsgpack } from '../../protocol/scan.ts'
import { codeThrown } from './peer-pair.ts'
import { plainValue } from './plain-values.ts'

const outcome = (bytes: Uint8Array): string => codeThrown(() => scanMsgpack(bytes))
const nils = (count: number): number[] => Array.from({ length: count }, () => 0xc0)
/** Pairs with different keys of one character. */
const pairs = (count: number): number[] =>
  Array.from({ length: count }, (_, index) => [0xa1, 0x61 + index, 0xc0]).flat()
const zeroes = (count: number): number[] => Array.from({ length: count }, () => 0)

/** The shortest whole value that begins with each type byte, written after the msgpack specification. */
const shortest = (type: number): number[] | null => {
  if (type <= 0x7f || type >= 0xe0) return [type]
  if (type <= 0x8f) return [type, ...pairs(type - 0x80)]
  if (type <= 0x9f) return [type, ...nils(type - 0x90)]
  if (type <= 0xbf) return [type, ...zeroes(type - 0xa0)]
  const bodies: Readonly<Record<number, number[]>> = {
    0xc0: [],
    0xc2: [],
    0xc3: [],
    0xc4: [2, ...zeroes(2)],
    0xc5: [0, 2, ...zeroes(2)],
    0xc6: [0, 0, 0, 2, ...zeroes(2)],
    0xca: zeroes(4),
    0xcb: zeroes(8),
    0xcc: zeroes(1),
    0xcd: zeroes(2),
    0xce: zeroes(4),
    0xcf: zeroes(8),
    0xd0: zeroes(1),
    0xd1: zeroes(2),
    0xd2: zeroes(4),
    0xd3: zeroes(8),
    0xd9: [2, ...zeroes(2)],
    0xda: [0, 2, ...zeroes(2)],
    0xdb: [0, 0, 0, 2, ...zeroes(2)],
    0xdc: [0, 2, ...nils(2)],
    0xdd: [0, 0, 0, 2, ...nils(2)],
    0xde: [0, 2, ...pairs(2)],
    0xdf: [0, 0, 0, 2, ...pairs(2)],
  }
  const body = bodies[type]
  return body === undefined ? null : [type, ...body]
}

const TYPES = Array.from({ length: 256 }, (_, type) => type)

/** Never used, and the extensions. */
const REFUSED = [0xc1, 0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8]

test('every type byte but the unused one and the extensions begins a value, which ends where it ends', () => {
  expect(TYPES.filter((type) => shortest(type) === null)).toEqual(REFUSED)
  for (const type of TYPES) {
    const value = shortest(type)
    if (value === null) continue
    expect(outcome(Uint8Array.from(value)), `type ${type}`).toBe('none')
    expect(outcome(Uint8Array.of(...value, 0xc0)), `type ${type} and a byte more`).toBe('FRAME_INVALID')
    for (let length = 0; length < value.length; length++)
      expect(outcome(Uint8Array.from(value.slice(0, length))), `type ${type} cut to ${length}`).toBe('FRAME_INVALID')
  }
})

test.each(REFUSED)('type byte %i is FRAME_INVALID', (type) => {
  expect(outcome(Uint8Array.of(type, ...zeroes(40)))).toBe('FRAME_INVALID')
})

describe('shape', () => {
  test('keys of maps are strings', () => {
    for (const key of [[0x01], [0xc0], [0xc3], [0xc4, 0], [0x90], [0x80], [0xca, 0, 0, 0, 0]])
      expect(outcome(Uint8Array.of(0x81, ...key, 0xc0)), `key ${key.join(' ')}`).toBe('FRAME_INVALID')
    expect(outcome(Uint8Array.of(0x82, 0xa1, 0x61, 0x01, 0xa1, 0x62, 0x80))).toBe('none')
    // the second key, after a value that is a string, is still a key
    expect(outcome(Uint8Array.of(0x82, 0xa1, 0x61, 0xa1, 0x61, 0x05, 0xc0))).toBe('FRAME_INVALID')
  })

  test('bytes that begin within a larger buffer are read from their beginning', () => {
    const whole = Uint8Array.of(0xc1, 0xc1, 0x92, 0x01, 0x02, 0xc1)
    expect(outcome(whole.subarray(2, 5))).toBe('none')
    expect(outcome(whole.subarray(2, 4))).toBe('FRAME_INVALID')
  })

  test('every encoded value passes', () => {
    fc.assert(fc.property(plainValue, (value) => outcome(encode(value)) === 'none'))
  })
})

const arrays = (depth: number): Uint8Array => {
  const bytes = new Uint8Array(depth + 1).fill(0x91)
  bytes[depth] = 0xc0
  return bytes
}
const maps = (depth: number): Uint8Array =>
  Uint8Array.from([...Array.from({ length: depth }, () => [0x81, 0xa0]).flat(), 0xc0])

const array = (count: number): Uint8Array => {
  const bytes = new Uint8Array(5 + count).fill(0xc0)
  bytes[0] = 0xdd
  new DataView(bytes.buffer).setUint32(1, count)
  return bytes
}

/** A string or bin of zeroes. */
const text = (type: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(5 + length)
  bytes[0] = type
  new DataView(bytes.buffer).setUint32(1, length)
  return bytes
}

describe('bounds', () => {
  test('depth', () => {
    expect(outcome(arrays(FRAME_DEPTH_MAX))).toBe('none')
    expect(outcome(arrays(FRAME_DEPTH_MAX + 1))).toBe('FRAME_INVALID')
    expect(outcome(maps(FRAME_DEPTH_MAX))).toBe('none')
    expect(outcome(maps(FRAME_DEPTH_MAX + 1))).toBe('FRAME_INVALID')
    expect(outcome(arrays(1_000_000))).toBe('FRAME_INVALID')
  })

  test('items, the outermost counted', () => {
    expect(outcome(array(FRAME_ITEMS_MAX - 1))).toBe('none')
    expect(outcome(array(FRAME_ITEMS_MAX))).toBe('FRAME_INVALID')
  })

  test('strings, but not bins', () => {
    expect(outcome(text(0xdb, STRING_BYTES_MAX))).toBe('none')
    expect(outcome(text(0xdb, STRING_BYTES_MAX + 1))).toBe('FRAME_INVALID')
    expect(outcome(text(0xc6, STRING_BYTES_MAX + 1))).toBe('none')
  })
})

describe('a key that is twice in its map', () => {
  const twice = [0x82, 0xa1, 0x61, 1, 0xa1, 0x61, 2]

  test('is refused, however it is written, at every depth', () => {
    expect(outcome(Uint8Array.from(twice))).toBe('FRAME_INVALID')
    // the second one as str 8
    expect(outcome(Uint8Array.of(0x82, 0xa1, 0x61, 1, 0xd9, 1, 0x61, 2))).toBe('FRAME_INVALID')
    expect(outcome(Uint8Array.of(0x91, 0x81, 0xa1, 0x62, ...twice))).toBe('FRAME_INVALID')
  })

  test('is none where the same key is in a map inside, or in the next one', () => {
    expect(outcome(Uint8Array.of(0x82, 0xa1, 0x61, 0x81, 0xa1, 0x61, 1, 0xa1, 0x62, 2))).toBe('none')
    expect(outcome(Uint8Array.of(0x92, 0x81, 0xa1, 0x61, 1, 0x81, 0xa1, 0x61, 1))).toBe('none')
  })

  test('may not hide behind bytes that are no UTF-8', () => {
    expect(outcome(Uint8Array.of(0x82, 0xa1, 0xff, 1, 0xa1, 0xfe, 2))).toBe('FRAME_INVALID')
  })
})
