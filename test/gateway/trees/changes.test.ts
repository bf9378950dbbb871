// The comparison of two trees against one of bytes: cells of any size, disks of two sizes, damage, pages, and the nodes it reads.
import { expect, test } from 'vitest'
import * as fc from 'fast-check'
import { changedIn, CHANGES_NODES_MAX, type Changed, type ChangesRequest } from '../../../gateway/trees/changes.ts'
import type { ReadNodes } from '../../../gateway/trees/node-reader.ts'
import { hex } from '../../../protocol/chunk.ts'
import type { ChangeKind } from '../../../protocol/changes.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { childSpan, rootLevel, type Ref, type TreeNode } from '../../../protocol/image-tree.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { codeOf } from '../auth/test-authority.ts'
import { build, idOf, KEY, type Tree } from './built-tree.ts'

const chunksOf = (bytes: Uint8Array, chunkBytes: number): Uint8Array[] =>
  Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, index) =>
    bytes.subarray(index * chunkBytes, (index + 1) * chunkBytes),
  )

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0)

const treeOf = (bytes: Uint8Array, chunkBytes: number): Tree =>
  build(chunksOf(bytes, chunkBytes).map((chunk) => (isZero(chunk) ? null : keyedHash(KEY, chunk))))

/** Nodes of both trees, without those that are lost, read by a reader that counts. */
const source = (trees: readonly Tree[], lost: ReadonlySet<string> = new Set()) => {
  const nodes = new Map<string, TreeNode>(trees.flatMap((tree) => [...tree.nodes]))
  const counted = { reads: 0, levels: new Set<number | null>() }
  const read: ReadNodes = async (ids, level) => {
    counted.reads += ids.length
    counted.levels.add(level)
    return ids.map((id) => {
      const node = nodes.get(hex(id))
      if (node !== undefined && node.level === level && !lost.has(hex(id))) return node
      return new VarveError('DATA_DAMAGED', hex(id))
    })
  }
  return { read, counted }
}

type Wish = Partial<Pick<ChangesRequest, 'cell' | 'first' | 'end' | 'limit' | 'signal' | 'known'>>

const ask = (read: ReadNodes, from: Tree, to: Tree, wish: Wish = {}) => {
  const damaged: string[] = []
  const changes = changedIn(read, {
    from,
    to,
    cell: 1,
    first: 0,
    end: to.chunks,
    limit: 1000,
    signal: new AbortController().signal,
    onDamaged: async ({ message }) => damaged.push(message),
    known: null,
    ...wish,
  })
  return changes.then((told) => ({ ...told, damaged }))
}

/** All ranges from `first` on, a page after another. */
const everyRange = async (read: ReadNodes, from: Tree, to: Tree, wish: Wish): Promise<Changed[]> => {
  const ranges: Changed[] = []
  for (let first: number | null = wish.first ?? 0; first !== null;) {
    const page = await ask(read, from, to, { ...wish, first })
    expect(page.ranges.length).toBeLessThanOrEqual(wish.limit ?? 1000)
    // a page comes further than the one before
    if (page.next !== null) expect(page.next).toBeGreaterThan(first)
    ranges.push(...page.ranges)
    first = page.next
  }
  return ranges
}

/** What ranges say of each chunk. */
const said = (ranges: readonly Changed[], chunks: number): (ChangeKind | null)[] => {
  const kinds = Array<ChangeKind | null>(chunks).fill(null)
  let end = 0
  for (const { position, count, kind } of ranges) {
    expect(position).toBeGreaterThanOrEqual(end)
    expect(count).toBeGreaterThan(0)
    kinds.fill(kind, position, position + count)
    end = position + count
  }
  expect(end).toBeLessThanOrEqual(chunks)
  return kinds
}

interface Images {
  readonly from: Uint8Array
  readonly to: Uint8Array
  readonly chunkBytes: number
  readonly cell: number
}

/** Whether bytes of the second image are others than those of the first one, behind whose end are zeroes; byte by byte. */
const bytesDiffer = ({ from, to }: Images, begin: number, end: number): boolean => {
  for (let at = begin; at < Math.min(end, to.length); at++) if ((from[at] ?? 0) !== to[at]) return true
  return false
}

/** The chunk with the end of one of the disks: an id is of all bytes of a chunk, so one of another length is another. */
const endDiffers = ({ from, to, chunkBytes }: Images, begin: number): boolean => {
  const one = from.subarray(begin, begin + chunkBytes)
  const other = to.subarray(begin, begin + chunkBytes)
  return other.length > 0 && one.length !== other.length && !(isZero(one) && isZero(other))
}

const cellDiffers = (images: Images, begin: number): boolean => {
  const { chunkBytes, cell, to } = images
  if (bytesDiffer(images, begin, begin + cell * chunkBytes)) return true
  for (let at = begin; at < Math.min(begin + cell * chunkBytes, to.length); at += chunkBytes)
    if (endDiffers(images, at)) return true
  return false
}

/** What must be said of each chunk from `first` up to `end`. */
const model = (images: Images, first: number, end: number): (ChangeKind | null)[] => {
  const { to, chunkBytes, cell } = images
  return Array.from({ length: Math.ceil(to.length / chunkBytes) }, (_, chunk) => {
    if (chunk < first || chunk >= end) return null
    const begin = Math.floor(chunk / cell) * cell * chunkBytes
    if (!cellDiffers(images, begin)) return null
    return isZero(to.subarray(begin, begin + cell * chunkBytes)) ? 'zero' : 'data'
  })
}

/** An image of random runs of zeroes and of few values, so that equal chunks and equal subtrees are common. */
const imageArbitrary = (bytesMax: number): fc.Arbitrary<Uint8Array> =>
  fc
    .array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: bytesMax / 4 })), { maxLength: 6 })
    .map((runs) => Uint8Array.from(runs.flatMap(([value, count]) => Array<number>(count).fill(value))))

/** The first image, cut or made longer, with some writes. */
const written = (
  base: Uint8Array,
  length: number,
  writes: readonly (readonly [number, number, number])[],
): Uint8Array => {
  const image = new Uint8Array(length)
  image.set(base.subarray(0, length))
  for (const [place, value, count] of writes)
    image.fill(value, Math.floor(place * length), Math.floor(place * length) + count)
  return image
}

const imagesArbitrary = fc
  .record({
    from: imageArbitrary(8000),
    grows: fc.oneof(fc.constant(0), fc.integer({ min: -3000, max: 3000 })),
    writes: fc.array(
      fc.tuple(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.integer({ min: 0, max: 3 }),
        fc.integer({ min: 1, max: 300 }),
      ),
      { maxLength: 12 },
    ),
    chunkBytes: fc.constantFrom(1, 4, 16, 64),
    cell: fc.constantFrom(1, 2, 8, 32, 64, 128, 4096, 1 << 20),
  })
  .map(({ from, grows, writes, ...rest }): Images => {
    const to = written(from, Math.max(0, from.length + grows), writes)
    return { from, to, ...rest }
  })

test('what differs is what differs byte by byte, in whole cells, in pages of any size, in any part of the disk', async () => {
  const wish = fc.record({
    limit: fc.integer({ min: 1, max: 12 }),
    window: fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })),
  })
  await fc.assert(
    fc.asyncProperty(imagesArbitrary, wish, async (images, { limit, window }) => {
      const { from, to, chunkBytes, cell } = images
      const [one, other] = [treeOf(from, chunkBytes), treeOf(to, chunkBytes)]
      const { read } = source([one, other])
      for (const [begin, share] of [[0, 1] as const, window]) {
        const first = Math.floor((begin * other.chunks) / cell) * cell
        const end = Math.min(other.chunks, Math.ceil((first + share * other.chunks) / cell) * cell)
        const ranges = await everyRange(read, one, other, { cell, first, end, limit })
        expect(said(ranges, other.chunks)).toEqual(model(images, first, end))
      }
    }),
    { numRuns: 60 },
  )
})

/** Ids of the nodes on the way to a chunk, with the bytes below each, from the top down. */
const pathOf = ({ root, nodes, chunks }: Tree, chunk: number): Map<number, string> => {
  const path = new Map<number, string>()
  // behind what the root of a smaller tree spans there is no node of it
  let ref: Ref = chunk < childSpan(rootLevel(chunks)) * 64 ? root : null
  for (let level = rootLevel(chunks); level >= 0 && ref !== null; level--) {
    path.set(level, hex(ref))
    ref = nodes.get(hex(ref))!.children[Math.floor(chunk / childSpan(level)) % 64]!
  }
  return path
}

test('below a node that cannot be read all is said to be damaged, unless both have it; around it nothing is', async () => {
  await fc.assert(
    fc.asyncProperty(imagesArbitrary, fc.array(fc.nat(), { minLength: 1, maxLength: 3 }), async (images, picks) => {
      const { from, to, chunkBytes } = images
      const [one, other] = [treeOf(from, chunkBytes), treeOf(to, chunkBytes)]
      const names = [...new Set([...one.nodes.keys(), ...other.nodes.keys()])]
      const lost = new Set(picks.map((pick) => names[pick % Math.max(1, names.length)]!))
      const expected = model({ ...images, cell: 1 }, 0, other.chunks).map((kind, chunk) => {
        const [was, is] = [pathOf(one, chunk), pathOf(other, chunk)]
        for (let level = Math.max(...was.keys(), ...is.keys(), 0); level >= 0; level--) {
          if (was.get(level) === is.get(level) && is.has(level)) return null
          for (const id of [was.get(level), is.get(level)]) if (id !== undefined && lost.has(id)) return 'damaged'
        }
        return kind
      })
      const { read } = source([one, other], lost)
      expect(said(await everyRange(read, one, other, { limit: 7 }), other.chunks)).toEqual(expected)
    }),
    { numRuns: 60 },
  )
})

test('a disk that only grew has not changed, whatever the heights of its trees and the size of a cell', async () => {
  const from = new Uint8Array(40 * 64).fill(1, 0, 1142)
  for (const chunks of [65, 4097]) {
    const to = new Uint8Array(chunks * 64)
    to.set(from)
    for (const cell of [1, 64, 4096, 1 << 20]) {
      const [one, other] = [treeOf(from, 64), treeOf(to, 64)]
      const { read } = source([one, other])
      expect(await everyRange(read, one, other, { cell, limit: 7 })).toEqual([])
    }
  }
})

test('what is told to be damaged is told by its id, and content that is known to be lost is damaged too', async () => {
  const refs = (): Ref[] => Array.from({ length: 200 }, (_, index) => idOf(index))
  const [from, to] = [build(refs()), build(refs().with(3, idOf(96)).with(4, idOf(95)).with(150, idOf(94)))]
  const leaf = to.nodes.get(hex(to.root!))!.children[2]!
  const { read } = source([from, to], new Set([hex(leaf)]))
  const known = async (ids: readonly Uint8Array[]): Promise<Uint8Array> =>
    Uint8Array.from(ids, (id) => (hex(id) === hex(idOf(95)) ? 1 : 0))
  const asked = await ask(read, from, to, { known })
  expect(asked.damaged).toEqual([hex(leaf)])
  expect(asked.ranges).toEqual([
    { position: 3, count: 1, kind: 'data' },
    { position: 4, count: 1, kind: 'damaged' },
    { position: 128, count: 64, kind: 'damaged' },
  ])
})

test('300,000 chunks: the nodes that are read grow with what changed, and stop at the size of a cell', async () => {
  const chunks = 300_000
  const refs = Array.from({ length: chunks }, (_, index): Ref => (index % 1000 < 300 ? null : idOf(index)))
  const from = build(refs)
  const depth = rootLevel(chunks) + 1
  const other = (index: number): Uint8Array => keyedHash(KEY, Buffer.from(`other ${index}`))
  for (const count of [0, 1, 90]) {
    const changed = [...refs]
    for (let index = 0; index < count; index++) changed[index * 2999 + 400] = other(index)
    const to = build(changed)
    const { read, counted } = source([from, to])
    const { ranges } = await ask(read, from, to)
    expect(ranges).toHaveLength(count)
    expect(counted.reads).toBeLessThanOrEqual(2 * depth * count)
    // each change has a leaf of its own on both sides
    expect(counted.reads).toBeGreaterThanOrEqual(2 * count)
    const coarse = source([from, to])
    expect((await ask(coarse.read, from, to, { cell: 64 })).ranges).toHaveLength(count)
    expect(coarse.counted.levels.has(0)).toBe(false)
    expect(coarse.counted.reads).toBeLessThanOrEqual(2 * (depth - 1) * count)
  }
})

test('a page ends after so many nodes, and the next one goes on where it ended', async () => {
  const chunks = 64 * 3 * CHANGES_NODES_MAX
  const to = build(Array.from({ length: chunks }, (_, index): Ref => idOf(index)))
  const { read, counted } = source([to])
  const from = { ...to, root: null, chunks: 0 }
  const first = await ask(read, from, to)
  expect(counted.reads).toBeLessThan(CHANGES_NODES_MAX + 8 * 64)
  expect(first.ranges).toEqual([{ position: 0, count: first.next, kind: 'data' }])
  const kinds = said(await everyRange(read, from, to, {}), chunks)
  expect(kinds.every((kind) => kind === 'data')).toBe(true)
})

test('a caller that has left ends the walk', async () => {
  const [from, to] = [build([idOf(1)]), build([idOf(2)])]
  const left = AbortSignal.abort(new VarveError('CANCELLED', 'gone'))
  expect(await codeOf(ask(source([from, to]).read, from, to, { signal: left }))).toBe('CANCELLED')
})
