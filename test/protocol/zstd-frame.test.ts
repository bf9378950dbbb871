// The outside of zstd frames: real ones of every size pass, everything else is refused, and what passes may be decoded joined.
// Method: what zlib makes, frames put together by hand, and properties that hold our reading against the real decoder.
import { randomBytes } from 'node:crypto'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isOneFrame } from '../../protocol/zstd-frame.ts'
import { sayingLength, zstdFrame } from './wire-chunks.ts'

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd] as const

/** A header's fields; the content size in as many bytes as its flag says. */
interface Header {
  readonly sizeFlag: 0 | 1 | 2 | 3
  readonly single: boolean
  readonly checksum: boolean
  readonly size: number
  /** Bits of the descriptor that are set beside the others. */
  readonly extra?: number
  /** The window's byte: exponent and mantissa. */
  readonly window?: number
}

const sizeField = ({ sizeFlag, single, size }: Header): Buffer => {
  const field = Buffer.alloc(8)
  if (sizeFlag === 1) {
    field.writeUInt16LE(size - 256)
    return field.subarray(0, 2)
  }
  field.writeBigUInt64LE(BigInt(size))
  return field.subarray(0, sizeFlag === 0 ? Number(single) : 2 ** sizeFlag)
}

/** A frame by hand: the blocks as they are, and a checksum of zeroes where the header says that there is one. */
const frameOf = (header: Header, ...blocks: readonly Uint8Array[]): Buffer => {
  const { sizeFlag, single, checksum, extra = 0 } = header
  const descriptor = (sizeFlag << 6) | (single ? 0x20 : 0) | (checksum ? 4 : 0) | extra
  const window = single ? [] : [header.window ?? 0x38]
  const end = Buffer.alloc(checksum ? 4 : 0)
  return Buffer.concat([Buffer.from([...MAGIC, descriptor, ...window]), sizeField(header), ...blocks, end])
}

const BLOCK = { raw: 0, rle: 1, compressed: 2, reserved: 3 } as const

const block = (type: number, size: number, content: Uint8Array, last: boolean): Buffer => {
  const head = Buffer.alloc(3)
  head.writeUIntLE((size << 3) | (type << 1) | Number(last), 0, 3)
  return Buffer.concat([head, content])
}

const rawBlock = (content: Uint8Array, last = true): Buffer => block(BLOCK.raw, content.length, content, last)
const rleBlock = (size: number, byte: number, last = true): Buffer => block(BLOCK.rle, size, Uint8Array.of(byte), last)

const skippable = (nibble: number, content: Uint8Array, length = content.length): Buffer => {
  const head = Buffer.alloc(8)
  head.writeUInt32LE(0x184d2a50 + nibble, 0)
  head.writeUInt32LE(length, 4)
  return Buffer.concat([head, content])
}

const SIMPLE: Header = { sizeFlag: 2, single: true, checksum: false, size: 0 }

/** What the decoder makes of bytes, or null where it refuses them or has more than `limit`. */
const decoded = (bytes: Uint8Array, limit = 1024 * 1024): Buffer | null => {
  try {
    return zstdDecompressSync(bytes, { maxOutputLength: limit })
  } catch {
    return null
  }
}

/** Content of some kind in between noise and nothing. */
const contentOf = (length: number, kind: number): Uint8Array => {
  if (kind === 0) return new Uint8Array(length)
  if (kind === 1) return new Uint8Array(randomBytes(length))
  const text = new Uint8Array(Buffer.alloc(length, 'the quick brown fox '))
  text.set(randomBytes(Math.floor(length / kind)))
  return text
}

describe('a frame of zlib', () => {
  test('passes, whatever its size, content, level and settings', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 200_000 })),
        fc.integer({ min: 0, max: 4 }),
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom(1, 3, 9),
        (length, kind, checksum, pledged, level) => {
          const frame = zstdCompressSync(contentOf(length, kind), {
            params: {
              [constants.ZSTD_c_checksumFlag]: Number(checksum),
              [constants.ZSTD_c_compressionLevel]: level,
            },
            ...(pledged ? { pledgedSrcSize: length } : {}),
          })
          expect(isOneFrame(frame, length)).toBe(true)
          for (const other of [0, length - 1, length + 1, length + 256, length * 2]) {
            if (other !== length) expect(isOneFrame(frame, other)).toBe(false)
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  test('passes at every boundary of its size field', () => {
    for (const length of [1, 255, 256, 257, 65_535, 65_536, 65_791, 65_792, 65_793, 131_072, 131_073, 4_194_304])
      for (const kind of [0, 1, 2]) expect(isOneFrame(zstdFrame(contentOf(length, kind)), length)).toBe(true)
  })

  test('passes wherever it lies in its buffer, and nothing around it counts', () => {
    const frame = zstdFrame(contentOf(5000, 2))
    for (const around of [0, 0xff, 0x28]) {
      const buffer = new Uint8Array(frame.length + 40).fill(around)
      buffer.set(frame, 13)
      expect(isOneFrame(buffer.subarray(13, 13 + frame.length), 5000)).toBe(true)
      expect(isOneFrame(buffer.subarray(13, 14 + frame.length), 5000)).toBe(false)
      expect(isOneFrame(buffer.subarray(13, 12 + frame.length), 5000)).toBe(false)
      expect(isOneFrame(buffer.subarray(12, 13 + frame.length), 5000)).toBe(false)
    }
  })

  test('without a content size is refused', () => {
    const params = { [constants.ZSTD_c_contentSizeFlag]: 0 }
    for (const length of [1, 100, 5000, 200_000]) {
      const frame = zstdCompressSync(contentOf(length, 2), { params, pledgedSrcSize: length })
      expect(decoded(frame)?.length).toBe(length)
      expect(isOneFrame(frame, length)).toBe(false)
      expect(isOneFrame(frame, 0)).toBe(false)
    }
  })

  test('is refused when it is cut anywhere, or has a byte behind it', () => {
    for (const frame of [zstdFrame(contentOf(700, 2)), zstdFrame(contentOf(700, 0)), zstdFrame(contentOf(700, 1))]) {
      for (let length = 0; length < frame.length; length++)
        expect(isOneFrame(frame.subarray(0, length), 700), `${length} bytes`).toBe(false)
      for (const byte of [0, 0x28, 0xff]) expect(isOneFrame(Uint8Array.of(...frame, byte), 700)).toBe(false)
    }
  })
})

describe('refused', () => {
  const [a, b] = [zstdFrame(contentOf(1000, 2)), zstdFrame(contentOf(300, 0))] as const

  test('two frames, also as one that has both contents', () => {
    for (const length of [1000, 300, 1300]) expect(isOneFrame(Buffer.concat([a, b]), length)).toBe(false)
  })

  test('a skippable frame of every kind, alone, before and behind', () => {
    for (let nibble = 0; nibble < 16; nibble++) {
      const skipped = skippable(nibble, Buffer.from('hidden'))
      for (const length of [0, 6, 14, 1000]) expect(isOneFrame(skipped, length)).toBe(false)
      expect(isOneFrame(Buffer.concat([skipped, a]), 1000)).toBe(false)
      expect(isOneFrame(Buffer.concat([a, skipped]), 1000)).toBe(false)
      expect(isOneFrame(Buffer.concat([a, skippable(nibble, new Uint8Array(0), b.length)]), 1000)).toBe(false)
    }
  })

  test('a content size that is missing or another', () => {
    const content = contentOf(1000, 1)
    const frame = (header: Partial<Header>): Buffer => frameOf({ ...SIMPLE, size: 1000, ...header }, rawBlock(content))
    for (const sizeFlag of [1, 2, 3] as const)
      for (const single of [true, false]) {
        expect(isOneFrame(frame({ sizeFlag, single }), 1000)).toBe(true)
        expect(decoded(frame({ sizeFlag, single }))?.equals(content)).toBe(true)
        expect(isOneFrame(frame({ sizeFlag, single, size: 1001 }), 1000)).toBe(false)
      }
    expect(isOneFrame(frame({ sizeFlag: 0, single: false }), 1000)).toBe(false)
    expect(isOneFrame(frame({ sizeFlag: 0, single: false }), 0)).toBe(false)
    expect(isOneFrame(frameOf({ ...SIMPLE, sizeFlag: 0, size: 100 }, rawBlock(contentOf(100, 1))), 100)).toBe(true)
    // 2^64-1 stands for no size inside the decoder, and is none that a chunk has
    const huge = frame({ sizeFlag: 3 })
    huge.fill(0xff, 5, 13)
    for (const length of [1000, 0, 2 ** 32 - 1, -1]) expect(isOneFrame(huge, length)).toBe(false)
    // a size whose low half alone would fit
    huge.fill(0, 5, 13).writeUInt32LE(1000, 5)
    expect(isOneFrame(huge, 1000)).toBe(true)
    huge.writeUInt32LE(1, 9)
    expect(isOneFrame(huge, 1000)).toBe(false)
  })

  test('a dictionary, and the reserved bit of the descriptor', () => {
    for (const extra of [1, 2, 3]) {
      const bytes = frameOf({ ...SIMPLE, size: 10, extra }, rawBlock(contentOf(10, 1)))
      const [before, after] = [bytes.subarray(0, 5), bytes.subarray(5)]
      // with and without the field that the bits announce
      const withId = Buffer.concat([before, Buffer.alloc([0, 1, 2, 4][extra]!), after])
      for (const frame of [bytes, withId]) expect(isOneFrame(frame, 10)).toBe(false)
    }
    expect(isOneFrame(frameOf({ ...SIMPLE, size: 10, extra: 8 }, rawBlock(contentOf(10, 1))), 10)).toBe(false)
  })

  test('a window above 8 MiB, at which the decoder does not look where it has the whole frame', () => {
    const content = contentOf(1000, 1)
    const frame = (window: number): Buffer =>
      frameOf({ ...SIMPLE, sizeFlag: 2, single: false, size: 1000, window }, rawBlock(content))
    // exponent 13 and mantissa 0 are 8 MiB
    const most = 13 << 3
    for (const window of [0, 7, most - 1, most]) expect(isOneFrame(frame(window), 1000), String(window)).toBe(true)
    for (const window of [most + 1, most + 8, 21 << 3]) {
      const params = { [constants.ZSTD_d_windowLogMax]: 23 }
      expect(zstdDecompressSync(frame(window), { params, maxOutputLength: 1000 }).equals(content)).toBe(true)
      expect(isOneFrame(frame(window), 1000), String(window)).toBe(false)
    }
    expect(isOneFrame(frame(0xff), 1000)).toBe(false)
  })

  test('a reserved block, no last block, and blocks past the end', () => {
    const some = contentOf(10, 1)
    const frame = (...blocks: readonly Uint8Array[]): Buffer => frameOf({ ...SIMPLE, size: 20 }, ...blocks)
    expect(isOneFrame(frame(rawBlock(some, false), rawBlock(some)), 20)).toBe(true)
    expect(isOneFrame(frame(rawBlock(some, false), rleBlock(10, 7)), 20)).toBe(true)
    expect(isOneFrame(frame(block(BLOCK.reserved, 10, some, true)), 20)).toBe(false)
    expect(isOneFrame(frame(rawBlock(some, false), block(BLOCK.reserved, 10, some, true)), 20)).toBe(false)
    expect(isOneFrame(frame(rawBlock(some, false), rawBlock(some, false)), 20)).toBe(false)
    expect(isOneFrame(frame(), 20)).toBe(false)
    expect(isOneFrame(frame(block(BLOCK.raw, 11, some, true)), 20)).toBe(false)
    expect(isOneFrame(frame(block(BLOCK.raw, 9, some, true)), 20)).toBe(false)
    expect(isOneFrame(frame(block(BLOCK.raw, 2 ** 21 - 1, some, true)), 20)).toBe(false)
    // an RLE block has one byte, however many it stands for
    expect(isOneFrame(frame(block(BLOCK.rle, 20, new Uint8Array(20), true)), 20)).toBe(false)
  })

  test('a checksum that is announced and not there, or there and not announced', () => {
    const header = { ...SIMPLE, size: 10 }
    const blocks = rawBlock(contentOf(10, 1))
    expect(isOneFrame(frameOf({ ...header, checksum: true }, blocks), 10)).toBe(true)
    expect(isOneFrame(frameOf({ ...header, checksum: true }, blocks).subarray(0, -4), 10)).toBe(false)
    expect(isOneFrame(Buffer.concat([frameOf(header, blocks), Buffer.alloc(4)]), 10)).toBe(false)
  })

  test('another magic, an older format, random bytes and none', () => {
    for (let bit = 0; bit < 32; bit++) {
      const frame = Uint8Array.from(a)
      frame[bit >> 3]! ^= 1 << (bit & 7)
      expect(isOneFrame(frame, 1000)).toBe(false)
    }
    for (let version = 0x22; version < 0x28; version++) {
      const frame = Uint8Array.from(a)
      frame[0] = version
      expect(isOneFrame(frame, 1000)).toBe(false)
    }
    expect(isOneFrame(new Uint8Array(0), 0)).toBe(false)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), (bytes, length) => {
        expect(isOneFrame(bytes, length)).toBe(false)
      }),
      { numRuns: 1000 },
    )
  })
})

/** Bytes that somebody might send for a chunk, with the length that he says: good, broken, and made to look good. */
const sent: fc.Arbitrary<{ bytes: Uint8Array; length: number }> = fc
  .record({
    length: fc.integer({ min: 256, max: 3000 }),
    kind: fc.integer({ min: 0, max: 4 }),
    checksum: fc.boolean(),
    way: fc.constantFrom('frame', 'frame', 'changed', 'lying', 'blocks', 'random blocks', 'joined', 'skipped'),
    at: fc.nat(),
    byte: fc.nat(255),
    noise: fc.uint8Array({ maxLength: 60 }),
  })
  .map(({ length, kind, checksum, way, at, byte, noise }) => {
    const content = contentOf(length, kind)
    const params = { [constants.ZSTD_c_checksumFlag]: Number(checksum) }
    const frame = new Uint8Array(zstdCompressSync(content, { params, pledgedSrcSize: length }))
    const other = 256 + (at % 3000)
    switch (way) {
      case 'changed':
        return { bytes: frame.with(at % frame.length, byte), length }
      case 'lying':
        return { bytes: sayingLength(frame, other), length: other }
      case 'blocks': {
        const half = content.subarray(0, at % length)
        const header = { ...SIMPLE, single: byte % 2 === 0, size: length }
        return { bytes: frameOf(header, rawBlock(half, false), rleBlock(length - half.length, byte)), length }
      }
      case 'random blocks': {
        const blocks = [block(at % 4, noise.length, noise, false), block(byte % 3, noise.length, noise, true)]
        return { bytes: frameOf({ ...SIMPLE, checksum, size: other }, ...blocks), length: other }
      }
      case 'joined':
        return { bytes: Buffer.concat([frame, zstdFrame(contentOf(300, 0))]), length: length + 300 }
      case 'skipped':
        return { bytes: Buffer.concat([frame, skippable(byte % 16, noise, noise.length + (at % 100))]), length }
      case 'frame':
        break
    }
    return { bytes: frame, length }
  })

describe('frames that pass', () => {
  test('decoded joined are what each is alone, and where one alone is refused so are all', () => {
    let [passed, joined, refused] = [0, 0, 0]
    fc.assert(
      fc.property(fc.array(sent, { minLength: 1, maxLength: 6 }), (list) => {
        const frames = list.filter(({ bytes, length }) => isOneFrame(bytes, length))
        if (frames.length === 0) return
        passed++
        const limit = frames.reduce((sum, { length }) => sum + length, 0)
        const alone = frames.map(({ bytes, length }) => decoded(bytes, length))
        const together = decoded(Buffer.concat(frames.map(({ bytes }) => bytes)), limit)
        if (alone.includes(null)) {
          refused++
          expect(together).toBeNull()
          return
        }
        joined++
        expect(together?.equals(Buffer.concat(alone as Buffer[]))).toBe(true)
        expect(alone.map((plain) => plain!.length)).toEqual(frames.map(({ length }) => length))
      }),
      { numRuns: 2000 },
    )
    // the property says something only when all of these came
    for (const count of [passed, joined, refused]) expect(count).toBeGreaterThan(50)
  })

  test('cannot make the decoder skip what follows: a frame that brings two contents and hides the next is refused', () => {
    const [a, b] = [contentOf(1000, 2), contentOf(800, 3)]
    const garbage = randomBytes(64)
    const attack = Buffer.concat([zstdFrame(a), zstdFrame(b), skippable(0, new Uint8Array(0), garbage.length)])
    // joined without looking, the decoder would give both contents, and the garbage would be kept as the second chunk
    expect(decoded(Buffer.concat([attack, garbage]))?.equals(Buffer.concat([a, b]))).toBe(true)
    for (const length of [1000, 800, 1800]) expect(isOneFrame(attack, length)).toBe(false)
    expect(isOneFrame(garbage, 800)).toBe(false)
  })
})
