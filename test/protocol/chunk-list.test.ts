// Tables of heads and the chunks of a message. Method: properties over lists of chunks, and tables with one
// field made wrong.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  areHeads,
  BUNDLE_HEAD_BYTES,
  PART_BYTES,
  plainLengthOf,
  readHeads,
  storedBundles,
  writeHeads,
  type BundleHead,
} from '../../protocol/chunk-list.ts'
import { BUNDLE_BYTES_MAX, BUNDLE_PARTS_MAX, CHUNK_BYTES_MAX, CODEC, type Codec } from '../../protocol/chunk.ts'
import { joinChunks, rawChunk, zstdChunk, zstdFrame, type WireChunk } from './wire-chunks.ts'

const id = fc.uint8Array({ minLength: 32, maxLength: 32 })

const headOf = (lengths: fc.Arbitrary<number[]>): fc.Arbitrary<BundleHead> =>
  fc
    .record({
      codec: fc.constantFrom<Codec>(CODEC.raw, CODEC.zstd),
      parts: lengths.chain((all) =>
        fc.tuple(...all.map((plainLength) => fc.record({ id, plainLength: fc.constant(plainLength) }))),
      ),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    .map(({ part, ...rest }) => ({
      ...rest,
      storedLength: Math.max(1, Math.ceil(plainLengthOf(rest.parts) * part)),
    }))

const alone = headOf(fc.integer({ min: 1, max: CHUNK_BYTES_MAX }).map((length) => [length]))
const together = headOf(
  fc.array(fc.integer({ min: 1, max: BUNDLE_BYTES_MAX / BUNDLE_PARTS_MAX }), {
    minLength: 2,
    maxLength: BUNDLE_PARTS_MAX,
  }),
)
const heads = fc.array(fc.oneof(alone, together), { minLength: 1, maxLength: 20 })

const storedSum = (list: readonly BundleHead[]): number => list.reduce((sum, { storedLength }) => sum + storedLength, 0)

describe('a table of heads', () => {
  test('says what was written, wherever it lies in its buffer', () => {
    fc.assert(
      fc.property(heads, fc.nat(50), (list, before) => {
        const table = writeHeads(list)
        const parts = list.reduce((sum, one) => sum + one.parts.length, 0)
        expect(table.length).toBe(list.length * BUNDLE_HEAD_BYTES + parts * PART_BYTES)
        const frame = new Uint8Array(before + table.length + 9).fill(0xff)
        frame.set(table, before)
        const view = frame.subarray(before, before + table.length)
        for (const read of [readHeads(table), readHeads(view)]) expect(read).toEqual(list)
        expect(areHeads(view, storedSum(list))).toBe(true)
        expect(readHeads(view)[0]!.parts[0]!.id.buffer).toBe(frame.buffer)
      }),
    )
  })

  test('has this layout', () => {
    const [a, b] = [0xab, 0xcd].map((byte) => new Uint8Array(32).fill(byte))
    const parts = [
      { id: a!, plainLength: 0x01_02_03 },
      { id: b!, plainLength: 0x04 },
    ]
    const table = writeHeads([{ codec: CODEC.zstd, storedLength: 0x0a_0b, parts }])
    expect(Buffer.from(table).toString('hex')).toBe(`010200000a0b${'ab'.repeat(32)}00010203${'cd'.repeat(32)}00000004`)
  })

  test('without chunks is none', () => {
    expect(readHeads(writeHeads([]))).toEqual([])
    expect(areHeads(new Uint8Array(0), 0)).toBe(false)
    expect(areHeads(writeHeads([{ codec: CODEC.raw, storedLength: 0, parts: [] }]), 0)).toBe(false)
  })

  test('must be whole', () => {
    fc.assert(
      fc.property(heads, fc.integer({ min: 1, max: BUNDLE_HEAD_BYTES + PART_BYTES - 1 }), (list, cut) => {
        const table = writeHeads(list)
        const longer = new Uint8Array(table.length + cut)
        longer.set(table)
        expect(areHeads(table.subarray(0, -cut), storedSum(list))).toBe(false)
        expect(areHeads(longer, storedSum(list))).toBe(false)
      }),
    )
  })

  test('must fit the stored bytes exactly', () => {
    fc.assert(
      fc.property(heads, fc.integer({ min: 1, max: 100 }), (list, by) => {
        const table = writeHeads(list)
        for (const bytes of [storedSum(list) + by, storedSum(list) - by, 0, 2 ** 32, -1, Number.NaN])
          expect(areHeads(table, bytes)).toBe(false)
        expect(areHeads(writeHeads(list.slice(1)), storedSum(list))).toBe(false)
      }),
    )
  })

  const part = (plainLength: number) => ({ id: new Uint8Array(32), plainLength })
  test.each<[string, Partial<BundleHead> | { readonly codec: number }]>([
    ['an unknown codec', { codec: 2 }],
    ['the largest codec', { codec: 255 }],
    ['no plain bytes', { parts: [part(0)] }],
    ['no plain bytes of one among others', { parts: [part(100), part(0)], storedLength: 10 }],
    ['more plain bytes than a chunk', { parts: [part(CHUNK_BYTES_MAX + 1)] }],
    ['the most plain bytes that can be said', { parts: [part(2 ** 32 - 1)] }],
    ['more plain bytes than a bundle', { parts: [part(1), part(BUNDLE_BYTES_MAX)], storedLength: 10 }],
    ['more chunks than a bundle', { parts: Array.from({ length: 65 }, () => part(1)), storedLength: 10 }],
    ['the most chunks that can be said', { parts: Array.from({ length: 255 }, () => part(1)), storedLength: 10 }],
    ['no stored bytes', { storedLength: 0 }],
    ['one stored byte more than plain ones', { parts: [part(100)], storedLength: 101 }],
    ['one stored byte more than all plain ones', { parts: [part(100), part(5)], storedLength: 106 }],
    ['the most stored bytes that can be said', { storedLength: 2 ** 32 - 1 }],
  ])('with %s is refused, wherever the head is', (_, wrong) => {
    fc.assert(
      fc.property(heads, fc.nat(), (list, at) => {
        const index = at % list.length
        const bad = list.with(index, { ...list[index]!, ...wrong } as BundleHead)
        expect(areHeads(writeHeads(bad), storedSum(bad))).toBe(false)
      }),
    )
  })

  test('whose lengths only fit when they run over is refused', () => {
    const one = { codec: CODEC.raw, storedLength: 2 ** 32 - 1, parts: [part(2 ** 32 - 1)] }
    const table = writeHeads([one, { ...one, storedLength: 2, parts: [part(2)] }])
    expect(areHeads(table, 1)).toBe(false)
  })
})

type Kind = 'zstd' | 'raw' | 'frames' | 'cut' | 'longer'

const chunkOf = (...kinds: readonly Kind[]): fc.Arbitrary<WireChunk> =>
  fc
    .record({
      id,
      fill: fc.nat(255),
      plainLength: fc.oneof(fc.integer({ min: 64, max: 5000 }), fc.integer({ min: 64, max: 400 * 1024 })),
      kind: fc.constantFrom(...kinds),
    })
    .map(({ id, fill, plainLength, kind }) => {
      const plain = new Uint8Array(plainLength).fill(fill)
      const whole = zstdChunk(id, plain)
      const { stored } = whole
      switch (kind) {
        case 'raw':
          return rawChunk(id, plain)
        case 'frames':
          return { ...whole, stored: Buffer.concat([zstdFrame(plain.subarray(30)), zstdFrame(plain.subarray(0, 30))]) }
        case 'cut':
          return { ...whole, stored: stored.subarray(0, -1) }
        case 'longer':
          return { ...whole, plainLength: plainLength + 1 }
        case 'zstd':
          break
      }
      return whole
    })

/** A chunk as it must be, and one that looks so and is not exactly one frame of its length. */
const chunk = chunkOf('zstd', 'raw')
const oddChunk = chunkOf('frames', 'cut', 'longer')

describe('the chunks of a message', () => {
  test('come one by one, in order, with their own bytes', () => {
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 30 }), (chunks) => {
        const { heads, stored } = joinChunks(chunks)
        const found = [...storedBundles(readHeads(heads), stored)]
        expect(found.map(({ head, stored }) => ({ ...head, stored: Buffer.from(stored) }))).toEqual(
          chunks.map(({ id, codec, plainLength, stored }) => ({
            codec,
            parts: [{ id, plainLength }],
            storedLength: stored.length,
            stored: Buffer.from(stored),
          })),
        )
      }),
    )
  })

  test('come up to the first that is not exactly one frame, which is refused by its name', () => {
    fc.assert(
      fc.property(
        fc.array(chunk, { maxLength: 20 }),
        oddChunk,
        fc.array(chunk, { maxLength: 5 }),
        (good, odd, rest) => {
          const { heads, stored } = joinChunks([...good, odd, ...rest])
          let found = 0
          const look = (): void => {
            for (const _ of storedBundles(readHeads(heads), stored)) found++
          }
          const id = Buffer.from(odd.id).toString('hex')
          expect(look).toThrow(expect.objectContaining({ code: 'CHUNK_INVALID', details: { id } }))
          expect(found).toBe(good.length)
        },
      ),
    )
  })
})
