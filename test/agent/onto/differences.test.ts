// Differences against a model, with trees in memory: found, written, and refused where the gateway lies.
import { expect, test } from 'vitest'
import { findDifferences } from '../../../agent/onto/differences.ts'
import { eitherChanged, pickSpots, SPOTS_MAX, Unlike, UNLIKE_CONTEXT } from '../../../agent/onto/unlike.ts'
import { writeDifferences } from '../../../agent/onto/write-differences.ts'
import { diskExtents } from '../../../agent/nbd/extents.ts'
import { Decoder } from '../../../agent/restore/decoder.ts'
import { Dice } from '../../support/model-dice.ts'
import { testSeeds } from '../../support/seed.ts'
import { codeOf } from '../restore/code-of.ts'
import { CHUNK_BYTES, ID_KEY, MemoryImage } from './memory-image.ts'

const signal = new AbortController().signal

/** A few kinds of content: zeroes, noise and the same again. */
const contentOf = (dice: Dice, chunks: number, tail: number): Buffer => {
  const pieces: Buffer[] = []
  for (let at = 0; at < chunks;) {
    const count = 1 + dice.below(Math.min(90, chunks - at))
    const kind = dice.below(3)
    pieces.push(
      kind === 0
        ? Buffer.alloc(count * CHUNK_BYTES)
        : kind === 1
          ? Buffer.alloc(count * CHUNK_BYTES, dice.bytes(64))
          : dice.bytes(count * CHUNK_BYTES),
    )
    at += count
  }
  return Buffer.concat([...pieces, dice.bytes(tail)])
}

/** The same with some chunks changed. */
const changedOf = (dice: Dice, content: Buffer): Buffer => {
  const changed = Buffer.from(content)
  for (let changes = dice.below(12); changes > 0; changes--) {
    const from = dice.below(content.length)
    const bytes = dice.below(2) === 0 ? dice.bytes(1 + dice.below(20_000)) : Buffer.alloc(1 + dice.below(20_000))
    bytes.copy(changed, from)
  }
  return changed
}

const differingIn = (a: Buffer, b: Buffer): number[] =>
  Array.from({ length: Math.ceil(a.length / CHUNK_BYTES) }, (_, at) => at).filter(
    (at) =>
      !a
        .subarray(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES)
        .equals(b.subarray(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES)),
  )

const find = (image: MemoryImage, there: Buffer): ReturnType<typeof findDifferences> =>
  findDifferences({
    ...MemoryImage.hashed(there),
    tree: image.tree,
    idKey: ID_KEY,
    chunkBytes: CHUNK_BYTES,
    signal,
    onLooked: () => {},
  })

/** Writes what differs into these bytes. */
const write = async (
  image: MemoryImage,
  there: Buffer,
  { chunks }: Awaited<ReturnType<typeof find>>,
): Promise<number> => {
  await using decoder = new Decoder()
  let written = 0
  await writeDifferences({
    chunks,
    tree: image.tree,
    reads: image.reads,
    decoder,
    idKey: ID_KEY,
    size: there.length,
    chunkBytes: CHUNK_BYTES,
    signal,
    target: {
      write: async (offset, bytes) => {
        there.set(bytes, offset)
      },
      zero: async (offset, length) => void there.fill(0, offset, offset + length),
    },
    onReceived: () => {},
    onWritten: (plain, zeroes) => void (written += plain + zeroes),
  })
  return written
}

test('random images become others, by just the chunks that differ', async () => {
  for (const seed of testSeeds(25)) {
    const dice = new Dice(seed)
    const before = contentOf(dice, 1 + dice.below(400), dice.below(2) * 1536)
    const wanted = changedOf(dice, before)
    const image = new MemoryImage(wanted)
    const there = Buffer.from(before)
    const found = await find(image, there)
    const positions = [...found.chunks.ranges()].flatMap(({ position, count }) =>
      Array.from({ length: count }, (_, at) => position + at),
    )
    expect({ seed, positions, count: found.count }).toEqual({
      seed,
      positions: differingIn(before, wanted),
      count: positions.length,
    })
    await write(image, there, found)
    expect({ seed, same: there.equals(wanted) }).toEqual({ seed, same: true })
    expect(image.chunksRead).toBeLessThanOrEqual(positions.length)
    expect((await find(image, there)).count).toBe(0)
  }
})

test('of an image that is the same no leaf of the tree is read', async () => {
  const content = new Dice(3).bytes(64 * 64 * CHUNK_BYTES)
  const image = new MemoryImage(content)
  expect((await find(image, content)).count).toBe(0)
  // the root alone: its children are the leaves
  expect(image.nodesRead).toBe(1)
})

test('with a base only what may differ is looked at, and spots besides', async () => {
  for (const seed of testSeeds(15)) {
    const dice = new Dice(seed)
    const base = contentOf(dice, 100 + dice.below(300), 0)
    const wanted = changedOf(dice, base)
    const image = new MemoryImage(wanted)
    const spots = pickSpots(image.chunks, () => dice.below(1000) / 1000)
    const unlike = new Unlike({
      tree: image.tree,
      base: new MemoryImage(base).tree,
      chunkBytes: CHUNK_BYTES,
      size: base.length,
      bitmap: null,
      spots,
    })
    const allocation = {
      size: base.length,
      blockStatus: async (_: number, length: number) => new Map([['base:allocation', [{ length, flags: 0 }]]]),
    }
    const differing = differingIn(base, wanted)
    let read = 0
    const { hash } = MemoryImage.hashed(base)
    const found = await findDifferences({
      extents: diskExtents({ allocation, dirty: { client: unlike, context: UNLIKE_CONTEXT }, size: base.length }),
      ahead: 2,
      hash: (runs) => {
        for (const { kind, count } of runs) if (kind === 'read') read += count
        return hash(runs)
      },
      tree: image.tree,
      idKey: ID_KEY,
      chunkBytes: CHUNK_BYTES,
      signal,
      onLooked: () => {},
    })
    expect({ seed, count: found.count }).toEqual({ seed, count: differing.length })
    expect({ seed, read }).toEqual({ seed, read: new Set([...differing, ...spots]).size })
    const there = Buffer.from(base)
    await write(image, there, found)
    expect({ seed, same: there.equals(wanted) }).toEqual({ seed, same: true })
  }
})

test('maps are joined as far as both go, and spots are few, in order and inside', () => {
  const [dirty, clean] = [1, 0]
  const a = [
    { length: 10, flags: clean },
    { length: 5, flags: dirty },
    { length: 10, flags: clean },
  ]
  const b = [
    { length: 12, flags: clean },
    { length: 8, flags: dirty },
  ]
  expect(eitherChanged(a, b)).toEqual([
    { length: 10, flags: clean },
    { length: 10, flags: dirty },
  ])
  expect(pickSpots(0, Math.random)).toEqual([])
  const spots = pickSpots(10_000, Math.random)
  expect(spots.length).toBeLessThanOrEqual(SPOTS_MAX)
  expect(spots).toEqual([...new Set(spots)].sort((x, y) => x - y))
})

test('a gateway that gives other nodes or chunks than those of the point is found out, and writes nothing of it', async () => {
  const dice = new Dice(5)
  const wanted = dice.bytes(200 * CHUNK_BYTES)
  const there = dice.bytes(200 * CHUNK_BYTES)
  const before = Buffer.from(there)
  const other = new MemoryImage(dice.bytes(200 * CHUNK_BYTES))
  const lies: ((image: MemoryImage) => void)[] = [
    (image) => (image.lieNodes = (nodes) => nodes.slice(1)),
    (image) =>
      (image.lieNodes = (nodes) =>
        nodes.map((node) => Uint8Array.from(node, (byte, at) => byte ^ (at === 40 ? 1 : 0)))),
    (image) => (image.lieNodes = () => [new Uint8Array(5)]),
  ]
  for (const lie of lies) {
    const image = new MemoryImage(wanted)
    lie(image)
    expect(await codeOf(find(image, there))).toBe('DATA_DAMAGED')
  }
  const chunkLies: MemoryImage['lieChunks'][] = [
    () => ({ heads: new Uint8Array(0), stored: new Uint8Array(0) }),
    ({ heads }) => ({ heads, stored: new Uint8Array(10) }),
  ]
  for (const lie of chunkLies) {
    const image = new MemoryImage(wanted)
    const found = await find(image, there)
    image.lieChunks = lie
    expect(await codeOf(write(image, there, found))).toMatch(/DATA_DAMAGED|STREAM_INVALID|CHUNK_INVALID/u)
    expect(there.equals(before)).toBe(true)
  }
  const image = new MemoryImage(wanted)
  const found = await find(image, there)
  const swapped = await other.reads.chunks(0, 1)
  image.lieChunks = () => swapped
  expect(await codeOf(write(image, there, found))).toBe('DATA_DAMAGED')
  expect(there.equals(before)).toBe(true)
})
