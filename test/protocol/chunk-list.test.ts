// Tables of heads and the groups their chunks are decoded in. Method: properties over lists of chunks, and tables with one
// field made wrong.
import * as fc from 'fast-check'
import { zstdDecompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import {
  areHeads,
  CHUNK_HEAD_BYTES,
  chunkGroups,
  eachAlone,
  readHeads,
  writeHeads,
  type ChunkGroup,
  type ChunkHead,
} from '../../protocol/chunk-list.ts'
import { CHUNK_BYTES_MAX, CODEC, type Codec } from '../../protocol/chunk.ts'
import { isOneFrame } from '../../protocol/zstd-frame.ts'
import { joinChunks, plainOf, rawChunk, splitChunks, zstdChunk, zstdFrame, type WireChunk } from './wire-chunks.ts'

const MIB = 1024 * 1024

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

/** A chunk that joins its neighbours, or one that cannot. */
const chunk = chunkOf('zstd', 'zstd', 'zstd', 'raw')

/** One that looks as if it could, and is not exactly one frame of its length. */
const oddChunk = chunkOf('frames', 'cut', 'longer')

const groupsOf = (chunks: readonly WireChunk[]): ChunkGroup[] => {
  const { heads, stored } = joinChunks(chunks)
  return [...chunkGroups(readHeads(heads), stored)]
}

/** The chunks of a group one by one. */
const chunksOf = ({ heads, stored }: ChunkGroup): WireChunk[] => splitChunks({ heads: writeHeads(heads), stored })

const joins = ({ codec, stored, plainLength }: WireChunk): boolean =>
  codec === CODEC.zstd && isOneFrame(stored, plainLength)

describe('groups', () => {
  test('are made up to the first chunk that is not exactly one frame, which is refused by its name', () => {
    fc.assert(
      fc.property(
        fc.array(chunk, { maxLength: 20 }),
        oddChunk,
        fc.array(chunk, { maxLength: 5 }),
        (good, odd, rest) => {
          const { heads, stored } = joinChunks([...good, odd, ...rest])
          const found: ChunkGroup[] = []
          const look = (): void => {
            for (const group of chunkGroups(readHeads(heads), stored)) found.push(group)
          }
          const id = Buffer.from(odd.id).toString('hex')
          expect(look).toThrow(expect.objectContaining({ code: 'CHUNK_INVALID', details: { id } }))
          expect(found.flatMap(chunksOf).length).toBe(good.length)
        },
      ),
    )
  })

  test('hold every chunk once, in order, with its own bytes', () => {
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 30 }), (chunks) => {
        const groups = groupsOf(chunks)
        expect(groups.flatMap(chunksOf).map((found) => ({ ...found, stored: Buffer.from(found.stored) }))).toEqual(
          chunks.map((given) => ({ ...given, stored: Buffer.from(given.stored) })),
        )
        for (const { heads, codec, plainLength, stored } of groups) {
          expect(plainLength).toBe(heads.reduce((sum, one) => sum + one.plainLength, 0))
          expect(stored.length).toBe(storedSum(heads))
          expect(heads.every((one) => one.codec === codec)).toBe(true)
        }
      }),
    )
  })

  test('join only whole zstd frames, of at most a MiB in all, and as many as fit', () => {
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 30 }), (chunks) => {
        const groups = groupsOf(chunks)
        for (const group of groups) {
          if (group.heads.length === 1) continue
          expect(group.codec).toBe(CODEC.zstd)
          expect(group.plainLength).toBeLessThanOrEqual(MIB)
          expect(chunksOf(group).every(joins)).toBe(true)
        }
        for (const [index, group] of groups.entries()) {
          const before = groups[index - 1]
          if (before === undefined || !chunksOf(before).every(joins) || !chunksOf(group).every(joins)) continue
          expect(before.plainLength + group.heads[0]!.plainLength).toBeGreaterThan(MIB)
        }
      }),
    )
  })

  test('decode by one call to what their chunks decode to one by one', () => {
    const isDecoded = (group: ChunkGroup): boolean =>
      Buffer.concat(chunksOf(group).map(plainOf)).equals(
        zstdDecompressSync(group.stored, { maxOutputLength: group.plainLength }),
      )
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 30 }), (chunks) => {
        for (const group of groupsOf(chunks)) if (group.heads.length > 1) expect(isDecoded(group)).toBe(true)
      }),
    )
  })

  test('are those of 64 KiB chunks in a message of 4 MiB', () => {
    const chunks = Array.from({ length: 64 }, (_, at) => zstdChunk(new Uint8Array(32), Buffer.alloc(65_536, at)))
    expect(groupsOf(chunks).map(({ heads }) => heads.length)).toEqual([16, 16, 16, 16])
    const alone = chunks.with(20, rawChunk(new Uint8Array(32), Buffer.alloc(65_536)))
    expect(groupsOf(alone).map(({ heads }) => heads.length)).toEqual([16, 4, 1, 16, 16, 11])
    expect(groupsOf([zstdChunk(new Uint8Array(32), Buffer.alloc(4 * MIB))]).map(({ heads }) => heads.length)).toEqual([
      1,
    ])
    expect(groupsOf([])).toEqual([])
  })
})

test('the chunks of a group alone are the group again, one behind the other', () => {
  const plains = [1, 2, 3].map((seed) => Buffer.alloc(1000 * seed, seed))
  const { heads, stored } = joinChunks(plains.map((plain) => zstdChunk(new Uint8Array(32).fill(plain[0]!), plain)))
  const [group, ...others] = [...chunkGroups(readHeads(heads), stored)]
  expect(others).toEqual([])
  const alone = [...eachAlone(group!)]
  expect(alone.map(({ heads: [head] }) => head?.plainLength)).toEqual([1000, 2000, 3000])
  expect(alone.every((one) => one.heads.length === 1 && one.plainLength === one.heads[0]!.plainLength)).toBe(true)
  expect(Buffer.concat(alone.map((one) => one.stored)).equals(stored)).toBe(true)
})
