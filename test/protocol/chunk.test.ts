// Chunks: sizes, lengths and ids as text.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CHUNK_BYTES_DEFAULT,
  CHUNK_BYTES_MAX,
  CHUNK_BYTES_MIN,
  CODEC,
  chunkCount,
  chunkLength,
  DISK_BYTES_MAX,
  equalBytes,
  fromHex,
  hex,
  isChunkBytes,
  isCodec,
} from '../../protocol/chunk.ts'
import { codeThrown } from './peer-pair.ts'

const chunkBytes = fc.integer({ min: 12, max: 22 }).map((power) => 2 ** power)

describe('sizes', () => {
  test('a chunk size is a power of two from 4 KiB to 4 MiB', () => {
    for (let power = 12; power <= 22; power++) expect(isChunkBytes(2 ** power)).toBe(true)
    expect(isChunkBytes(CHUNK_BYTES_DEFAULT)).toBe(true)
    const others = [CHUNK_BYTES_MIN / 2, CHUNK_BYTES_MAX * 2, 65_535, 65_537, 0, -4096, 4096.5, Number.NaN, Infinity]
    for (const bytes of others) expect(isChunkBytes(bytes), String(bytes)).toBe(false)
  })

  test('the chunks of a disk cover it without a gap', () => {
    const size = fc.integer({ min: 1, max: DISK_BYTES_MAX })
    fc.assert(
      fc.property(size, chunkBytes, (diskBytes, bytes) => {
        const count = chunkCount(diskBytes, bytes)
        const last = chunkLength(count - 1, diskBytes, bytes)
        expect((count - 1) * bytes + last).toBe(diskBytes)
        expect(last).toBeGreaterThan(0)
        expect(last).toBeLessThanOrEqual(bytes)
        if (count > 1) expect(chunkLength(0, diskBytes, bytes)).toBe(bytes)
        expect(codeThrown(() => chunkLength(count, diskBytes, bytes))).toBe('UPLOAD_INVALID')
        expect(codeThrown(() => chunkLength(-1, diskBytes, bytes))).toBe('UPLOAD_INVALID')
      }),
    )
    expect(chunkCount(0, 65_536)).toBe(0)
  })

  test('codecs', () => {
    expect(Object.values(CODEC).every(isCodec)).toBe(true)
    expect([-1, 2, 0.5, Number.NaN].some(isCodec)).toBe(false)
  })
})

describe('bytes', () => {
  test('hexadecimal text and back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(hex(bytes)).toBe(Buffer.from(bytes).toString('hex'))
        expect(fromHex(hex(bytes))).toEqual(bytes)
      }),
    )
  })

  test.each(['a', 'AB', 'zz', '0x', ' 00', '00\n', '0️⃣'])('%j is PARAMS_INVALID', (text) => {
    expect(codeThrown(() => fromHex(text))).toBe('PARAMS_INVALID')
  })

  test('equal bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 8 }), fc.uint8Array({ maxLength: 8 }), (a, b) => {
        expect(equalBytes(a, b)).toBe(hex(a) === hex(b))
        expect(equalBytes(a, Uint8Array.from(a))).toBe(true)
      }),
    )
  })
})
