// Freeing by hand: large buffers go at once, and nothing that may share its buffer is ever touched.
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encode } from '../../protocol/codec.ts'
import { freeBuffer, freeBytes, ownsBuffer } from '../../protocol/memory.ts'

const KIB = 1024
const MIB = 1024 * KIB

describe('bytes own their buffer', () => {
  test('when it is large and they are its end, wherever they begin', () => {
    const buffer = new ArrayBuffer(MIB)
    for (const from of [0, 1, 100, MIB - 1]) expect(ownsBuffer(new Uint8Array(buffer, from))).toBe(true)
    expect(ownsBuffer(Buffer.allocUnsafeSlow(200 * KIB))).toBe(true)
  })

  test('not when anything lies behind them, or when it is small', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 300 * KIB }), fc.nat(), fc.nat(), (bytes, at, size) => {
        const buffer = new ArrayBuffer(bytes)
        const from = at % (bytes + 1)
        const length = size % (bytes - from + 1)
        const owns = ownsBuffer(new Uint8Array(buffer, from, length))
        if (from + length < bytes || bytes <= 64 * KIB) expect(owns).toBe(false)
        if (from + length === bytes && bytes >= 128 * KIB) expect(owns).toBe(true)
      }),
    )
  })

  test('not when threads share it', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(MIB))
    expect(ownsBuffer(shared)).toBe(false)
    freeBytes(shared)
    freeBuffer(shared.buffer)
    expect(shared.length).toBe(MIB)
  })

  test('not when they are gone already', () => {
    const bytes = new Uint8Array(MIB)
    freeBytes(bytes)
    expect(ownsBuffer(bytes)).toBe(false)
  })
})

describe('freeing', () => {
  test('empties a large buffer for every view of it, and again does nothing', () => {
    const bytes = new Uint8Array(MIB).fill(1)
    const view = bytes.subarray(10, 20)
    freeBytes(bytes)
    expect([bytes.length, view.length, bytes.buffer.byteLength]).toEqual([0, 0, 0])
    freeBytes(bytes)
    freeBytes(view)
    freeBuffer(bytes.buffer)
  })

  test('leaves bytes that are only a part of their buffer', () => {
    const bytes = new Uint8Array(MIB).fill(7)
    freeBytes(bytes.subarray(0, MIB - 1))
    expect(bytes.every((byte) => byte === 7)).toBe(true)
    freeBuffer(bytes.buffer)
    expect(bytes.length).toBe(0)
  })

  test('gives the memory back without a collection', () => {
    const kept = Array.from({ length: 64 }, () => new Uint8Array(4 * MIB))
    const full = process.memoryUsage().arrayBuffers
    for (const bytes of kept) freeBytes(bytes)
    // the bytes are still reachable, so no collector could have taken them
    expect(kept).toHaveLength(64)
    expect(full - process.memoryUsage().arrayBuffers).toBeGreaterThanOrEqual(250 * MIB)
  })

  test("never touches a pool, whatever of Node's own lies in one", () => {
    const pieces = Array.from({ length: 3000 }, (_, index) => Buffer.from(`piece ${index}`.padEnd((index * 7) % 400)))
    const copies = pieces.map((piece) => piece.toString())
    for (const piece of pieces) {
      freeBytes(piece)
      freeBuffer(piece.buffer)
    }
    expect(pieces.map((piece) => piece.toString())).toEqual(copies)
  })

  test('takes what zlib gives for plain bytes of every length', () => {
    for (const length of [0, 1, 100, 4096, 16_384, 30_000, 32_704, 32_705, 40_000, 65_535, 65_536, 65_537, 200_000]) {
      const plain = Buffer.alloc(length, 'text')
      const packed = zstdCompressSync(plain)
      for (const options of [{}, { chunkSize: length + 64 }, { chunkSize: length + 4096 }]) {
        const small = zstdCompressSync(plain, options)
        freeBuffer(small.buffer)
        const unpacked = zstdDecompressSync(packed, options)
        expect(unpacked.equals(plain)).toBe(true)
        freeBuffer(unpacked.buffer)
      }
      // what else is in a pool is as it was
      expect(zstdDecompressSync(packed).equals(plain)).toBe(true)
    }
  })

  test('never touches a frame that msgpackr wrote into its pool', () => {
    const frames: { bytes: Uint8Array; copy: Uint8Array }[] = []
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), fc.nat(15 * KIB), (text, length) => {
        const bytes = encode([text, new Uint8Array(length)])
        frames.push({ bytes, copy: Uint8Array.from(bytes) })
        freeBytes(bytes)
      }),
    )
    for (const { bytes, copy } of frames) expect(Buffer.compare(bytes, copy)).toBe(0)
  })
})
