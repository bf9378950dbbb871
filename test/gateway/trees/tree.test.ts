// Walks over trees in memory, held against the plain list of refs that they were built from.
import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import {
  childSpan,
  decodeNode,
  FAN_OUT,
  rootLevel,
  TreeBuilder,
  type NewNode,
  type Ref,
  type TreeNode,
} from '../../../protocol/image-tree.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { childAt, chunksAt, leaves, leavesAround, type LeafRun, type NodeSource } from '../../../gateway/trees/tree.ts'
import { collect } from '../datastore/fixture.ts'

const KEY = new Uint8Array(32).fill(5)
const IDS = Array.from({ length: 97 }, (_, index) => keyedHash(KEY, Buffer.from(`chunk ${index}`)))
const idOf = (index: number): Uint8Array => IDS[(index + Math.floor(index / FAN_OUT)) % IDS.length]!

/** Alternating runs of zero and present chunks of random lengths. */
const refsArbitrary = fc
  .array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 9000 })), { minLength: 1, maxLength: 6 })
  .map((runs) => {
    const refs: Ref[] = []
    for (const [present, count] of runs) for (let i = 0; i < count; i++) refs.push(present ? idOf(refs.length) : null)
    return refs
  })

interface Tree {
  readonly root: Ref
  readonly chunks: number
  readonly source: NodeSource & { reads: number }
  readonly nodes: Map<string, TreeNode>
}

const build = (refs: readonly Ref[]): Tree => {
  const nodes = new Map<string, TreeNode>()
  const onNode = ({ id, bytes }: NewNode): void => void nodes.set(hex(id), decodeNode(bytes))
  const builder = new TreeBuilder({ chunks: refs.length, hash: keyedHash, nodeKey: KEY, onNode })
  for (const ref of refs) builder.place(0, ref)
  const source = {
    reads: 0,
    nodes: async (ids: readonly Uint8Array[]) => {
      source.reads += ids.length
      return ids.map((id) => {
        const node = nodes.get(hex(id))
        if (node === undefined) throw new VarveError('DATA_DAMAGED', `no node ${hex(id)}`)
        return node
      })
    },
  }
  return { root: builder.finish(), chunks: refs.length, source, nodes }
}

/** What the runs say of each position from `from` on; fails on gaps, overlaps and over-long runs. */
const expand = (runs: readonly LeafRun[], from: number): (string | null)[] => {
  const refs: (string | null)[] = []
  for (const { position, count, ids } of runs) {
    expect(position).toBe(from + refs.length)
    expect(count).toBeGreaterThan(0)
    if (ids !== null) expect([ids.length, count <= FAN_OUT]).toEqual([count, true])
    for (let i = 0; i < count; i++) refs.push(ids === null ? null : hex(ids[i]!))
  }
  return refs
}

describe('leaves', () => {
  test('say of every chunk what the tree was built from, from any start', async () => {
    await fc.assert(
      fc.asyncProperty(refsArbitrary, fc.double({ min: 0, max: 1.1, noNaN: true }), async (refs, share) => {
        const { root, chunks, source } = build(refs)
        const from = Math.floor(chunks * share)
        const runs = await collect(leaves(source, root, chunks, from))
        expect(expand(runs, from)).toEqual(refs.slice(from).map((ref) => (ref === null ? null : hex(ref))))
        for (const [index, run] of runs.entries())
          if (index > 0) expect(run.ids === null && runs[index - 1]!.ids === null).toBe(false)
      }),
      { numRuns: 15 },
    )
  })

  test('an all-zero image is one run and reads nothing', async () => {
    const chunks = FAN_OUT ** 7
    const source = build([null]).source
    expect(await collect(leaves(source, null, chunks))).toEqual([{ position: 0, count: chunks, ids: null }])
    expect(source.reads).toBe(0)
  })

  test('a start deep in the image reads only the path to it and what follows', async () => {
    const refs = Array.from({ length: FAN_OUT ** 2 * 20 }, (_, index) => idOf(index))
    const { root, chunks, source } = build(refs)
    await collect(leaves(source, root, chunks, chunks - 1))
    expect(source.reads).toBe(rootLevel(chunks) + 1)
  })

  test('a walk that is left early has read little', async () => {
    const refs = Array.from({ length: FAN_OUT ** 2 * 20 }, (_, index) => idOf(index))
    const { root, chunks, source } = build(refs)
    for await (const run of leaves(source, root, chunks)) {
      expect(run.position).toBe(0)
      break
    }
    expect(source.reads).toBeLessThanOrEqual(1 + FAN_OUT + FAN_OUT)
  })

  test('a node of the wrong level, or an absent one, is damage that names it', async () => {
    const refs = Array.from({ length: FAN_OUT * 3 }, (_, index) => idOf(index))
    const { root, chunks, source, nodes } = build(refs)
    const leaf = nodes.get(hex(root!))!.children[1]!
    const good = nodes.get(hex(leaf))!
    nodes.set(hex(leaf), { ...good, level: 1 })
    await expect(collect(leaves(source, root, chunks))).rejects.toMatchObject({
      code: 'DATA_DAMAGED',
      details: { id: hex(leaf) },
    })
    nodes.delete(hex(leaf))
    await expect(collect(leaves(source, root, chunks))).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
    await expect(collect(leaves(source, root, FAN_OUT ** 2 * 2))).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
    await expect(collect(leaves(source, randomBytes(32), chunks))).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
  })
})

describe('childAt', () => {
  test('a tree put together from the subtrees of another is the same tree', async () => {
    await fc.assert(
      fc.asyncProperty(refsArbitrary, fc.infiniteStream(fc.integer({ min: 1, max: 8000 })), async (refs, lengths) => {
        const { root, chunks, source } = build(refs)
        const level = rootLevel(chunks)
        const copy = new TreeBuilder({ chunks, hash: keyedHash, nodeKey: KEY, onNode: () => {} })
        for (const length of lengths) {
          if (copy.position === chunks) break
          const end = Math.min(copy.position + length, chunks)
          while (copy.position < end) {
            const at = copy.placeableLevel(end - copy.position)
            copy.place(at, await childAt(source, root, level, at, copy.position))
          }
        }
        expect(copy.finish()).toEqual(root)
      }),
      { numRuns: 15 },
    )
  })

  test('the whole tree is the child above its root, and outside of it everything is zero', async () => {
    const { root, source } = build(Array.from({ length: 100 }, (_, index) => idOf(index)))
    expect(await childAt(source, root, 1, 2, 0)).toBe(root)
    expect(await childAt(source, root, 1, 0, childSpan(2) * 3)).toBe(null)
    expect(await childAt(source, null, 1, 0, 5)).toBe(null)
  })

  test.each([
    [3, 0],
    [1, 1],
    [-1, 0],
    [2, FAN_OUT ** 2],
    [0, -1],
  ])('level %d at chunk %d is no subtree', async (level, position) => {
    const { root, source } = build(Array.from({ length: 100 }, (_, index) => idOf(index)))
    await expect(childAt(source, root, 1, level, position)).rejects.toMatchObject({ code: 'UPLOAD_INVALID' })
  })
})

describe('chunksAt', () => {
  test('says of any chunks what the leaves say, whatever is asked together and in which order', async () => {
    await fc.assert(
      fc.asyncProperty(refsArbitrary, fc.array(fc.nat(), { maxLength: 300 }), async (refs, picks) => {
        const { root, chunks, source } = build(refs)
        const positions = picks.map((pick) => pick % chunks)
        const walked = expand(await collect(leaves(source, root, chunks)), 0)
        const found = await chunksAt(source, root, rootLevel(chunks), positions)
        expect(found.map((ref) => ref && hex(ref))).toEqual(positions.map((position) => walked[position]))
      }),
      { numRuns: 30 },
    )
  })

  test('reads each node once that several chunks share, and nothing where all is zero', async () => {
    const refs = Array.from({ length: FAN_OUT ** 2 * 3 }, (_, index) => (index < FAN_OUT ** 2 ? null : idOf(index)))
    const { root, chunks, source } = build(refs)
    const level = rootLevel(chunks)
    const positions = Array.from({ length: FAN_OUT }, (_, index) => FAN_OUT ** 2 + index)
    await chunksAt(source, root, level, [...positions, ...positions])
    expect(source.reads).toBe(level + 1)
    source.reads = 0
    expect(await chunksAt(source, root, level, [0, 5, FAN_OUT])).toEqual([null, null, null])
    expect(source.reads).toBe(1)
    source.reads = 0
    expect(await chunksAt(source, null, level, [1, chunks - 1])).toEqual([null, null])
    expect(await chunksAt(source, root, level, [])).toEqual([])
    expect(source.reads).toBe(0)
  })

  test('a node of the wrong level, or an absent one, is damage that names it', async () => {
    const { root, chunks, source, nodes } = build(Array.from({ length: FAN_OUT * 3 }, (_, index) => idOf(index)))
    const leaf = nodes.get(hex(root!))!.children[1]!
    nodes.set(hex(leaf), { ...nodes.get(hex(leaf))!, level: 1 })
    const ask = (position: number) => chunksAt(source, root, rootLevel(chunks), [0, position])
    await expect(ask(FAN_OUT + 1)).rejects.toMatchObject({ code: 'DATA_DAMAGED', details: { id: hex(leaf) } })
    nodes.delete(hex(leaf))
    await expect(ask(FAN_OUT)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
    expect(await ask(2 * FAN_OUT)).toHaveLength(2)
  })
})

describe('around damage', () => {
  test('exactly what is below nodes that cannot be read is lost, and each of them is told', async () => {
    await fc.assert(
      fc.asyncProperty(
        refsArbitrary,
        fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
        fc.nat(),
        async (refs, picks, at) => {
          const { root, chunks, nodes } = build(refs)
          fc.pre(nodes.size > 0)
          const names = [...nodes.keys()]
          const gone = new Set(picks.map((pick) => names[pick % names.length]!))
          const from = at % chunks
          const told: string[] = []
          const source = {
            tryNodes: async (ids: readonly Uint8Array[]) =>
              ids.map((id) => {
                const name = hex(id)
                return gone.has(name) ? new VarveError('DATA_DAMAGED', name) : nodes.get(name)!
              }),
          }
          const onDamaged = async ({ message }: VarveError): Promise<void> => void told.push(message)
          const runs = await collect(leavesAround(source, root, chunks, { from, onDamaged }))
          const expected = refs.map((ref) => (ref === null ? null : hex(ref)))
          // the model: every position whose path leads through a node that is gone
          const lose = (ref: Ref, level: number, start: number): void => {
            if (ref === null) return
            const span = childSpan(level)
            if (gone.has(hex(ref))) expected.fill('lost', start, start + span * FAN_OUT)
            else if (level > 0)
              for (const [index, child] of nodes.get(hex(ref))!.children.entries())
                lose(child, level - 1, start + index * span)
          }
          lose(root, rootLevel(chunks), 0)
          const found = runs.flatMap(({ count, ids, lost }): (string | null)[] =>
            ids === null ? Array<string | null>(count).fill(lost === true ? 'lost' : null) : ids.map(hex),
          )
          expect(found).toEqual(expected.slice(from))
          expand(runs, from)
          for (const name of told) expect(gone.has(name)).toBe(true)
          // neighbours are joined
          for (const [index, run] of runs.entries())
            if (run.ids === null)
              expect(runs[index + 1]?.ids === null && runs[index + 1]?.lost === run.lost).toBe(false)
        },
      ),
      { numRuns: 40 },
    )
  })

  test('a node of the wrong level is lost; any other error ends the walk', async () => {
    const { root, chunks, nodes } = build(Array.from({ length: 100 }, (_, index) => idOf(index)))
    const wrong = {
      tryNodes: async (ids: readonly Uint8Array[]) => ids.map((id) => ({ ...nodes.get(hex(id))!, level: 5 })),
    }
    const told: string[] = []
    const onDamaged = async ({ message }: VarveError): Promise<void> => void told.push(message)
    expect(await collect(leavesAround(wrong, root, chunks, { from: 3, onDamaged }))).toEqual([
      { position: 3, count: 97, ids: null, lost: true },
    ])
    expect(told).toHaveLength(1)
    const failing = { tryNodes: async () => Promise.reject(new VarveError('STORE_FAILED', 'no')) }
    await expect(collect(leavesAround(failing, root, chunks, { from: 0, onDamaged }))).rejects.toMatchObject({
      code: 'STORE_FAILED',
    })
  })
})
