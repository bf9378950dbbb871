// The codec: what goes in comes out, and no bytes from outside crash it or make it take memory. Method: properties and
// bytes made by hand.
import * as fc from 'fast-check'
import { Packr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { decode, encode } from '../../protocol/codec.ts'
import { FRAME_BYTES_MAX, FRAME_DEPTH_MAX, FRAME_ITEMS_MAX, STRING_BYTES_MAX } from '../../protocol/limits.ts'
import { freeBytes, ownsBuffer } from '../../protocol/memory.ts'
import { retainedBytes, takenBytes } from './memory.ts'
import { codeThrown } from './peer-pair.ts'
import { comparable, plainValue } from './plain-values.ts'

const KIB = 1024
const MIB = 1024 * KIB
const nested = (depth: number): unknown => (depth === 0 ? 7 : [nested(depth - 1)])
const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

describe('values', () => {
  test('what is encoded decodes to the same', () => {
    fc.assert(
      fc.property(plainValue, (value) => {
        expect(comparable(decode(encode(value)))).toEqual(value)
      }),
      { numRuns: 500 },
    )
  })

  test('an encoded value outlives later ones', () => {
    const first = encode({ id: new Uint8Array(32).fill(7) })
    const copy = Uint8Array.from(first)
    for (let index = 0; index < 2000; index++) encode({ index, bytes: new Uint8Array(100).fill(index) })
    expect(Uint8Array.from(first)).toEqual(copy)
  })

  test('bins are views of the received bytes', () => {
    const bytes = Uint8Array.from(encode([1, new Uint8Array(1000).fill(9)]))
    const bin = (decode(bytes) as [number, Uint8Array])[1]
    expect(bin.buffer).toBe(bytes.buffer)
    expect(bin.every((byte) => byte === 9)).toBe(true)
  })

  test('an undefined field is nil', () => {
    expect(decode(encode({ a: undefined, b: [undefined] }))).toEqual({ a: null, b: [null] })
  })

  test('64-bit integers past the exact range are numbers, not bigints', () => {
    expect(decode(bytesOf('cf ffffffffffffffff'))).toBe(2 ** 64)
    expect(decode(bytesOf('d3 8000000000000000'))).toBe(-(2 ** 63))
  })

  test('a key cannot reach a prototype', () => {
    const value = decode(bytesOf('81 a9 5f5f70726f746f5f5f 81 a5 61646d696e c3')) as { admin?: boolean }
    expect(value.admin).toBeUndefined()
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
  })
})

/** A value within so many arrays, last in each, with something before it in every one. */
const lastOf = (depth: number, before: readonly unknown[], last: unknown): unknown => {
  let value = last
  for (let level = 0; level < depth; level++) value = [...before, value]
  return value
}

describe('values that end with a large bin', () => {
  // the library alone, with settings that write only what any msgpack library reads
  const library = new Packr({ useRecords: false, mapsAsObjects: true, variableMapSize: true, int64AsType: 'number' })
  const LARGE = 16 * KIB

  test('decode to what they were, and to what the library alone makes of them', () => {
    fc.assert(
      fc.property(
        fc.array(plainValue, { maxLength: 5 }),
        fc.integer({ min: 0, max: 5 }),
        fc.oneof(fc.integer({ min: LARGE - 3, max: LARGE + 3 }), fc.integer({ min: LARGE, max: 80 * KIB })),
        fc.nat(255),
        (before, depth, length, byte) => {
          const end = new Uint8Array(length).fill(byte)
          end[0] = 1
          const value = lastOf(depth, before, end)
          const bytes = encode(value)
          expect(comparable(decode(bytes))).toEqual(value)
          expect(comparable(library.unpack(bytes))).toEqual(comparable(library.unpack(library.pack(value))))
        },
      ),
      { numRuns: 50 },
    )
  })

  test('have a buffer of exactly their size from 16 KiB on, and share one below', () => {
    for (const length of [LARGE, LARGE + 1, 65_535, 65_536, MIB])
      for (const depth of [0, 1, 3]) {
        const bytes = encode(lastOf(depth, [1, 'a'], new Uint8Array(length)))
        expect([bytes.byteOffset, bytes.buffer.byteLength]).toEqual([0, bytes.length])
        expect(bytes.length).toBe(depth * 4 + 5 + length)
      }
    expect(ownsBuffer(encode([1, new Uint8Array(LARGE)]))).toBe(false)
    expect(ownsBuffer(encode([1, new Uint8Array(MIB)]))).toBe(true)
    const below = encode([1, new Uint8Array(LARGE - 1)])
    expect(below.buffer.byteLength).toBeGreaterThan(below.length)
    expect(ownsBuffer(below)).toBe(false)
  })

  test('end in arrays only: bins in a map, in the middle and before a small end are written as ever', () => {
    const bin = new Uint8Array(100 * KIB).fill(3)
    for (const value of [
      [1, { bin }],
      [bin, 1],
      [[1, bin], 'end'],
      [bin, new Uint8Array(10)],
      [bin, []],
      [{ a: [bin] }],
    ])
      expect(comparable(decode(encode(value)))).toEqual(value)
    expect(comparable(decode(encode([bin, bin])))).toEqual([bin, bin])
  })

  test('may be a part of a larger buffer', () => {
    const end = new Uint8Array(100 * KIB).map((_, index) => index)
    expect(decode(encode([1, end.subarray(999, 30_000)]))).toEqual([1, end.slice(999, 30_000)])
    expect(comparable(decode(encode([1, Buffer.from(end)])))).toEqual([1, end])
  })

  test('leave the frames after them as they should be, and those before them alone', () => {
    const bin = new Uint8Array(70 * KIB).fill(9)
    const frames: { bytes: Uint8Array; value: unknown }[] = []
    for (let index = 0; index < 300; index++) {
      const value = index % 2 === 0 ? [index, 'small', new Uint8Array(index)] : [index, [{ k: index }, bin]]
      frames.push({ bytes: encode(value), value })
    }
    for (const { bytes, value } of frames) expect(comparable(decode(bytes))).toEqual(value)
  })

  test('do not change what is given, and are not changed with it', () => {
    const bin = new Uint8Array(20 * KIB).fill(1)
    const value = [1, [2, bin]]
    const bytes = encode(value)
    expect(value).toEqual([1, [2, bin]])
    bin.fill(2)
    expect(comparable(decode(bytes))).toEqual([1, [2, new Uint8Array(20 * KIB).fill(1)]])
  })

  test('are refused like all others', () => {
    const bin = new Uint8Array(20 * KIB)
    expect(codeThrown(() => encode(lastOf(FRAME_DEPTH_MAX + 1, [], bin)))).toBe('FRAME_INVALID')
    expect(codeThrown(() => encode(lastOf(100_000, [], bin)))).toBe('FRAME_INVALID')
    expect(codeThrown(() => encode([Symbol('no'), bin]))).toBe('FRAME_INVALID')
    expect(codeThrown(() => encode([1, new Uint8Array(FRAME_BYTES_MAX - 5)]))).toBe('FRAME_TOO_LARGE')
    expect(decode(encode([1, new Uint8Array(FRAME_BYTES_MAX - 7)]))).toHaveLength(2)
    expect(comparable(decode(encode([undefined, bin])))).toEqual([null, bin])
  })

  test('a long string, after which the shared buffer is large, makes no small frame one that may be freed', () => {
    const frames: { bytes: Uint8Array; value: unknown }[] = []
    for (let turn = 0; turn < 3; turn++) {
      const long = encode(['a'.repeat(300 * KIB)])
      freeBytes(long)
      expect(decode(long)).toEqual(['a'.repeat(300 * KIB)])
      for (let index = 0; index < 3000; index++) {
        const value = [index, new Uint8Array(index % 500).fill(index)]
        frames.push({ bytes: encode(value), value })
        freeBytes(frames.at(-1)!.bytes)
      }
    }
    for (const { bytes, value } of frames) {
      expect(bytes.length).toBeGreaterThan(0)
      expect(comparable(decode(bytes))).toEqual(value)
    }
  })
})

describe('values that no frame carries', () => {
  test.each([
    ['a bigint', 2n ** 70n],
    ['a symbol', Symbol('no')],
    ['a date', new Date(0)],
    ['a map with number keys', new Map([[1, 2]])],
    ['a nesting too deep', nested(FRAME_DEPTH_MAX + 1)],
    ['a string too long', 'a'.repeat(STRING_BYTES_MAX + 1)],
    ['too many items', Array.from({ length: FRAME_ITEMS_MAX }, () => 0)],
  ])('%s is FRAME_INVALID', (_, value) => {
    expect(codeThrown(() => encode([value]))).toBe('FRAME_INVALID')
  })

  test('more than a frame is FRAME_TOO_LARGE', () => {
    expect(codeThrown(() => encode(new Uint8Array(FRAME_BYTES_MAX)))).toBe('FRAME_TOO_LARGE')
  })

  test('after a refusal the next value is encoded well', () => {
    for (const bad of [Symbol('no'), 2n ** 70n, new Date(0)]) {
      expect(codeThrown(() => encode([1, 'begun', bad]))).toBe('FRAME_INVALID')
      expect(decode(encode([1, 'whole']))).toEqual([1, 'whole'])
    }
  })
})

describe('limits', () => {
  test('each limit can be reached', () => {
    const full = new Uint8Array(FRAME_BYTES_MAX - 5)
    expect(decode(encode(full))).toHaveLength(full.length)
    expect(decode(encode(nested(FRAME_DEPTH_MAX)))).toEqual(nested(FRAME_DEPTH_MAX))
    expect(decode(encode('a'.repeat(STRING_BYTES_MAX)))).toHaveLength(STRING_BYTES_MAX)
    expect(decode(encode(Array.from({ length: FRAME_ITEMS_MAX - 1 }, () => 0)))).toHaveLength(FRAME_ITEMS_MAX - 1)
  })

  test('received bytes past a frame are FRAME_TOO_LARGE before they are looked at', () => {
    expect(codeThrown(() => decode(new Uint8Array(FRAME_BYTES_MAX + 1).fill(0xc1)))).toBe('FRAME_TOO_LARGE')
  })
})

const outcome = (bytes: Uint8Array): string => codeThrown(() => decode(bytes))

describe('hostile bytes', () => {
  test('random bytes are a value or FRAME_INVALID', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(['none', 'FRAME_INVALID']).toContain(outcome(bytes))
      }),
      { numRuns: 3000 },
    )
  })

  test('a changed byte in a real value is a value or FRAME_INVALID', () => {
    fc.assert(
      fc.property(plainValue, fc.nat(), fc.nat(255), (value, at, byte) => {
        const bytes = Uint8Array.from(encode(value))
        bytes[at % bytes.length] = byte
        expect(['none', 'FRAME_INVALID']).toContain(outcome(bytes))
      }),
      { numRuns: 1000 },
    )
  })

  test('a value cut at any length, or with one byte more, is FRAME_INVALID', () => {
    const text = 'é'.repeat(200)
    const bytes = encode([1, -7, 300, 70_000, 2 ** 40, 1.5, 'a', text, { k: [null, true], é: {} }, new Uint8Array(300)])
    for (let length = 0; length < bytes.length; length++)
      expect(outcome(bytes.subarray(0, length)), `${length} bytes`).toBe('FRAME_INVALID')
    expect(outcome(Uint8Array.of(...bytes, 0xc0))).toBe('FRAME_INVALID')
    expect(outcome(bytes)).toBe('none')
  })

  test.each([
    ['array 16', 'dc ffff'],
    ['array 32', 'dd 00800000'],
    ['array 32 at its largest', 'dd ffffffff'],
    ['map 16', 'de ffff'],
    ['map 32', 'df 00800000'],
    ['map 32 at its largest', 'df ffffffff'],
    ['bin 32', 'c6 7fffffff'],
    ['bin 32 at its largest', 'c6 ffffffff'],
    ['string 32', 'db 7fffffff'],
    ['string 32 at its largest', 'db ffffffff'],
    ['arrays in arrays', 'dd 00020000 dd 00020000 dd 00020000'],
  ])('%s that claims more than is there takes no memory', (_, hex) => {
    const bytes = new Uint8Array(64)
    bytes.set(bytesOf(hex))
    let code = ''
    const taken = takenBytes(() => (code = outcome(bytes)))
    expect(code).toBe('FRAME_INVALID')
    expect(taken).toBeLessThan(MIB)
  })

  test('a flood of bad frames leaves nothing behind', () => {
    const bad = [bytesOf('dd ffffffff'), bytesOf('91 c1'), bytesOf('81 c0 c0'), bytesOf('a5 6162')]
    const flood = (): void => {
      for (let index = 0; index < 5000; index++) outcome(bad[index % bad.length]!)
    }
    flood()
    const before = retainedBytes()
    flood()
    expect(retainedBytes() - before).toBeLessThan(MIB)
  })

  test('strings that are no UTF-8 do not crash', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (text) => {
        const bytes = Uint8Array.of(0xda, text.length >> 8, text.length & 0xff, ...text)
        expect(typeof decode(bytes)).toBe('string')
      }),
      { numRuns: 500 },
    )
  })
})
