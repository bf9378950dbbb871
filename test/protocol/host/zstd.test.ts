// Contexts that live: what they make is what zstd makes, and nothing that was wrong before reaches what comes after it.
import { randomBytes } from 'node:crypto'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { compressed, compressionOf, decompressed } from '../../../protocol/host/zstd.ts'
import { isOneFrame } from '../../../protocol/zstd-frame.ts'
import { oddFrames, zstdFrame } from '../wire-chunks.ts'

const ownCompressed = (plain: Uint8Array): Buffer => Buffer.from(compressed(plain) ?? [])

test('a frame is the one that a fresh context makes, whatever came before it', () => {
  const plain = fc.oneof(
    fc.integer({ min: 300, max: 300_000 }).map((length) => Buffer.alloc(length, 'some text ')),
    fc.integer({ min: 300, max: 300_000 }).map((length) => randomBytes(length)),
    fc.integer({ min: 300, max: 300_000 }).map((length) => Buffer.from(randomBytes(length / 2).toString('hex'))),
  )
  fc.assert(
    fc.property(fc.array(plain, { maxLength: 12 }), (all) => {
      for (const bytes of all) {
        const fresh = zstdCompressSync(bytes, {
          params: compressionOf(bytes.length),
          pledgedSrcSize: bytes.length,
        })
        const frame = ownCompressed(bytes)
        expect(frame.equals(fresh.length < bytes.length ? fresh : Buffer.alloc(0))).toBe(true)
        if (frame.length === 0) continue
        expect(isOneFrame(frame, bytes.length)).toBe(true)
        expect(Buffer.from(decompressed(frame, bytes.length)!).equals(bytes)).toBe(true)
      }
    }),
    { numRuns: 30 },
  )
})

test('what breaks a context is refused and costs nobody else anything', () => {
  const good = Buffer.from(randomBytes(4000).toString('hex'))
  const frame = zstdFrame(good)
  const flipped = Uint8Array.from(frame)
  flipped[200]! ^= 0x55
  const summed = zstdCompressSync(good, { params: { [constants.ZSTD_c_checksumFlag]: 1 } })
  summed[summed.length - 1]! ^= 1
  const bad: Uint8Array[] = [
    ...oddFrames(7, 8000).map(([, stored]) => stored),
    frame.subarray(0, 100),
    frame.subarray(0, -1),
    frame.subarray(0, 1),
    flipped,
    summed,
    new Uint8Array(0),
    randomBytes(50),
  ]
  for (const stored of bad) {
    let plain: Uint8Array | null = null
    try {
      plain = decompressed(stored, 8000)
    } catch (error) {
      expect(error).toMatchObject({ code: 'CHUNK_INVALID' })
    }
    expect(plain !== null && Buffer.from(plain).equals(good)).toBe(false)
    expect(Buffer.from(decompressed(frame, 8000)!).equals(good)).toBe(true)
  }
})

test('no more is made than was asked for', () => {
  const plain = Buffer.alloc(1_000_000, 1)
  const frame = zstdFrame(plain)
  for (const most of [1, 100, 65_536, 999_999]) expect(decompressed(frame, most)).toBe(null)
  expect(decompressed(frame, 1_000_000)?.length).toBe(1_000_000)
  expect(decompressed(frame, 2_000_000)?.length).toBe(1_000_000)
  expect(compressed(randomBytes(65_536))).toBe(null)
  expect(zstdDecompressSync(ownCompressed(plain)).equals(plain)).toBe(true)
})

test('a Node with something else below its streams does the same by calls that it promises', async () => {
  vi.resetModules()
  vi.doMock(import('node:zlib'), async (original) => {
    const zlib = await original()
    const bare = (): never => ({}) as never
    return { ...zlib, createZstdCompress: bare, createZstdDecompress: bare }
  })
  const plainly = await import('../../../protocol/host/zstd.ts')
  const plain = Buffer.from(randomBytes(4000).toString('hex'))
  const frame = Buffer.from(plainly.compressed(plain)!)
  expect(frame.equals(ownCompressed(plain))).toBe(true)
  expect(Buffer.from(plainly.decompressed(frame, 8000)!).equals(plain)).toBe(true)
  expect(plainly.decompressed(frame, 7999)).toBe(null)
  expect(plainly.compressed(randomBytes(65_536))).toBe(null)
  expect(() => plainly.decompressed(frame.subarray(0, 100), 8000)).toThrow('zstd does not take it')
  vi.doUnmock('node:zlib')
})
