// Tables of heads and the chunks of a message. Method: properties over lists of chunks, and tables with one
// field made wrong.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  areHeads,
  CHUNK_HEAD_BYTES,
  readHeads,
  storedChunks,
  writeHeads,
  type ChunkHead,
} from '../../protocol/chunk-list.ts'
import { CHUNK_BYTES_MAX, CODEC, type Codec } from '../../protocol/chunk.ts'
import { joinChunks, rawChunk, zstdChunk, zstdFrame, type WireChunk } from './wire-chunks.ts'

const id = fc.uint8Array({ minLength: 32, maxLength: 32 })

const head: fc.Arbitrary<ChunkHead> = fc
  .record({
    id,
    codec: fc.constantFrom<Codec>(CODEC.raw, CODEC.zstd),
    plainLength: fc.integer({ min: 1, max: CHUNK_BYTES_MAX }),
    part: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ part, ...rest }) => ({ ...rest, storedLength: Math.max(1, Math.ceil(rest.plainLength * part)) }))

const heads = fc.array(head, { minLength: 1, maxLength: 40 })

const storedSum = (list: readonly ChunkHead[]): number => list.reduce((sum, { storedLength }) => sum + storedLength, 0)

describe('a table of heads', () => {
  test('says what was written, wherever it lies in its buffer', () => {
    fc.assert(
      fc.property(heads, fc.nat(50), (list, before) => {
        const table = writeHeads(list)
        expect(table.length).toBe(list.length * CHUNK_HEAD_BYTES)
        const frame = new Uint8Array(before + table.length + 9).fill(0xff)
        frame.set(table, before)
        const view = frame.subarray(before, before + table.length)
        for (const read of [readHeads(table), readHeads(view)]) expect(read).toEqual(list)
        expect(areHeads(view, storedSum(list))).toBe(true)
        expect(readHeads(view)[0]!.id.buffer).toBe(frame.buffer)
      }),
    )
  })

  test('has this layout', () => {
    const table = writeHeads([
      { id: new Uint8Array(32).fill(0xab), codec: CODEC.zstd, plainLength: 0x01_02_03, storedLength: 0x0a_0b },
    ])
    expect(Buffer.from(table).toString('hex')).toBe(`${'ab'.repeat(32)}010001020300000a0b`)
  })

  test('without chunks is none', () => {
    expect(readHeads(writeHeads([]))).toEqual([])
    expect(areHeads(new Uint8Array(0), 0)).toBe(false)
  })

  test('must be whole', () => {
    fc.assert(
      fc.property(heads, fc.integer({ min: 1, max: CHUNK_HEAD_BYTES - 1 }), (list, cut) => {
        const table = writeHeads(list)
        const longer = new Uint8Array(table.length + cut)
        longer.set(table)
        expect(areHeads(table.subarray(0, -cut), storedSum(list))).toBe(false)
        expect(areHeads(table.subarray(cut), storedSum(list))).toBe(false)
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
        expect(areHeads(table.subarray(CHUNK_HEAD_BYTES), storedSum(list))).toBe(false)
      }),
    )
  })

  test.each<[string, Partial<Record<keyof ChunkHead, number>>]>([
    ['an unknown codec', { codec: 2 }],
    ['the largest codec', { codec: 255 }],
    ['no plain bytes', { plainLength: 0 }],
    ['more plain bytes than a chunk', { plainLength: CHUNK_BYTES_MAX + 1 }],
    ['the most plain bytes that can be said', { plainLength: 2 ** 32 - 1 }],
    ['no stored bytes', { storedLength: 0 }],
    ['one stored byte more than plain ones', { plainLength: 100, storedLength: 101 }],
    ['the most stored bytes that can be said', { storedLength: 2 ** 32 - 1 }],
  ])('with %s is refused, wherever the head is', (_, wrong) => {
    fc.assert(
      fc.property(heads, fc.nat(), (list, at) => {
        const index = at % list.length
        const bad = list.with(index, { ...list[index]!, ...wrong } as ChunkHead)
        expect(areHeads(writeHeads(bad), storedSum(bad))).toBe(false)
      }),
    )
  })

  test('whose lengths only fit when they run over is refused', () => {
    const one = { id: new Uint8Array(32), codec: CODEC.raw, plainLength: 2 ** 32 - 1, storedLength: 2 ** 32 - 1 }
    const table = writeHeads([one, { ...one, plainLength: 2, storedLength: 2 }])
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
        const found = [...storedChunks(readHeads(heads), stored)]
        expect(found.map(({ head, stored }) => ({ ...head, stored: Buffer.from(stored) }))).toEqual(
          chunks.map((given) => ({
            ...given,
            storedLength: given.stored.length,
            stored: Buffer.from(given.stored),
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
            for (const _ of storedChunks(readHeads(heads), stored)) found++
          }
          const id = Buffer.from(odd.id).toString('hex')
          expect(look).toThrow(expect.objectContaining({ code: 'CHUNK_INVALID', details: { id } }))
          expect(found).toBe(good.length)
        },
      ),
    )
  })
})
