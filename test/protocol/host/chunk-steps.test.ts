// A chunk's way there and back: what is packed is what comes out, each chunk is checked, and a further step has its place.
import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { CODEC, hex } from '../../../protocol/chunk.ts'
import { BUNDLE_HEAD_BYTES, PART_BYTES, plainLengthOf, readHeads } from '../../../protocol/chunk-list.ts'
import { VarveError } from '../../../protocol/errors.ts'
import {
  bundlesOf,
  checkChunks,
  decode,
  decodedView,
  frame,
  PACKING,
  type Framed,
  type PlacedChunk,
  type PackStep,
} from '../../../protocol/host/chunk-steps.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'

const idKey = new Uint8Array(32).fill(5)

const framed = (plains: readonly Uint8Array[], steps = PACKING): Framed => {
  const room = new Uint8Array(plains.reduce((sum, { length }) => sum + length, 0))
  return frame(
    plains.map((plain) => ({ parts: [{ id: keyedHash(idKey, plain), plainLength: plain.length }], plain })),
    steps,
    room,
  )
}

const unframed = ({ heads, stored }: Framed): Uint8Array => {
  const list = readHeads(heads)
  const out = new Uint8Array(list.reduce((sum, { parts }) => sum + plainLengthOf(parts), 0))
  const refusal = (id: Uint8Array, cause: unknown): VarveError => new VarveError('DATA_DAMAGED', hex(id), { cause })
  let filled = 0
  const take = (plain: Uint8Array): void => {
    out.set(plain, filled)
    filled += plain.length
  }
  checkChunks(list, stored, { idKey, take, refusal })
  return out
}

const plains = [Buffer.alloc(4096, 'text'), randomBytes(4096), Buffer.alloc(200_000, 1), Buffer.alloc(5, 2)]

test('what is packed is what comes out, smaller where that can be', () => {
  const sent = framed(plains)
  expect(readHeads(sent.heads).map(({ codec }) => codec)).toEqual([CODEC.zstd, CODEC.raw, CODEC.zstd, CODEC.raw])
  expect(sent.stored.length).toBeLessThan(6000)
  expect(Buffer.concat(plains).equals(unframed(sent))).toBe(true)
})

test('the first chunk that is not what it says is named, and those before it are taken', () => {
  const sent = framed([plains[0]!, plains[2]!, plains[0]!])
  const wrong = sent.heads.slice()
  wrong[BUNDLE_HEAD_BYTES + PART_BYTES + BUNDLE_HEAD_BYTES]! ^= 1
  expect(() => unframed({ ...sent, heads: wrong })).toThrow(hex(readHeads(wrong)[1]!.parts[0]!.id))
  expect(() => decode(CODEC.raw, new Uint8Array(5), 6)).toThrow('the plain length is not what was said')
})

test('steps run in order', () => {
  const seen: Uint8Array[] = []
  const stamp: PackStep = ({ codec, bytes }) => {
    seen.push(bytes)
    return { codec, bytes: Uint8Array.from(bytes, (byte) => byte ^ 1) }
  }
  const plain = new Uint8Array(randomBytes(100_000)).fill(3, 0, 20_000)
  const { stored } = framed([plain], [...PACKING, stamp, stamp])
  expect(stored).toEqual(framed([plain]).stored)
  expect(seen.map(({ length }) => length)).toEqual([stored.length, stored.length])
  expect(plain.length).toBe(100_000)
})

test('what is decoded is kept only where it is asked for', () => {
  const [a, b] = [framed([Buffer.alloc(5000, 1)]).stored, framed([Buffer.alloc(5000, 2)]).stored]
  const own = decode(CODEC.zstd, a, 5000)
  const view = decodedView(CODEC.zstd, a, 5000)
  decodedView(CODEC.zstd, b, 5000)
  expect([own[0], view[0]]).toEqual([1, 2])
  expect(decode(CODEC.raw, a, a.length)).toBe(a)
})

describe('bundles', () => {
  const CHUNK = 64 * 1024
  const memory = new Uint8Array(randomBytes(12 * CHUNK))
  /** Chunks at these positions that lie one behind the other in memory, the last one short. */
  const placed = (...positions: readonly number[]): PlacedChunk[] =>
    positions.map((position, index) => {
      const end = (index + 1) * CHUNK - (index === positions.length - 1 ? 100 : 0)
      const plain = memory.subarray(index * CHUNK, end)
      return { id: keyedHash(idKey, plain), position, plain }
    })
  const sizes = (chunks: readonly PlacedChunk[], chunkBytes = CHUNK): number[] =>
    bundlesOf(chunks, chunkBytes).map(({ parts }) => parts.length)

  test('are neighbours of one group of 256 KiB', () => {
    expect(sizes(placed(0, 1, 2, 3, 4, 5, 6, 7, 8))).toEqual([4, 4, 1])
    expect(sizes(placed(3, 4, 5, 6, 7))).toEqual([1, 4])
    expect(sizes(placed(0, 2, 3, 5, 8, 9))).toEqual([1, 2, 1, 2])
    expect(sizes(placed(1, 3, 5, 7))).toEqual([1, 1, 1, 1])
    expect(sizes([])).toEqual([])
    expect(sizes(placed(0, 1), 4 * CHUNK)).toEqual([1, 1])
    expect(sizes(placed(...Array.from({ length: 12 }, (_, at) => at)), 4096)).toEqual([12])
  })

  test('are no chunks that lie apart in memory', () => {
    const [a, b] = placed(0, 1)
    expect(sizes([a!, { ...b!, plain: Uint8Array.from(b!.plain) }])).toEqual([1, 1])
  })

  test('give each chunk back, in its place', () => {
    const chunks = placed(2, 3, 4, 5, 6, 9)
    memory.fill(7, CHUNK, 3 * CHUNK)
    const same = chunks.map((chunk) => ({ ...chunk, id: keyedHash(idKey, chunk.plain) }))
    const sent = frame(bundlesOf(same, CHUNK), PACKING, new Uint8Array(memory.length))
    const heads = readHeads(sent.heads)
    expect(heads.map(({ parts }) => parts.map(({ id }) => hex(id)))).toEqual(
      [same.slice(0, 2), same.slice(2, 5), same.slice(5)].map((some) => some.map(({ id }) => hex(id))),
    )
    expect(heads.map(({ codec }) => codec)).toEqual([CODEC.zstd, CODEC.zstd, CODEC.raw])
    expect(Buffer.concat(same.map(({ plain }) => plain)).equals(unframed(sent))).toBe(true)
  })

  test('of which one chunk is not what it says are refused for that one', () => {
    const bundles = bundlesOf(placed(4, 5, 6, 7), CHUNK)
    const wrong = new Uint8Array(32).fill(9)
    const parts = bundles[0]!.parts.map((part, place) => (place === 2 ? { ...part, id: wrong } : part))
    const sent = frame([{ ...bundles[0]!, parts }], PACKING, new Uint8Array(memory.length))
    expect(() => unframed(sent)).toThrow(hex(wrong))
  })
})
