// The chunks of trees in memory, held against the plain list of refs that they were built from.
import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { childSpan, FAN_OUT, rootLevel, TreeNode, type Ref } from '../../../protocol/image-tree.ts'
import { leaves, type LeafRun } from '../../../gateway/trees/leaves.ts'
import { collect } from '../datastore/fixture.ts'
import { build, idOf, refsArbitrary } from './built-tree.ts'

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
        const runs = await collect(leaves(source.read, root, chunks, { from }))
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
    expect(await collect(leaves(source.read, null, chunks))).toEqual([{ position: 0, count: chunks, ids: null }])
    expect(source.reads).toBe(0)
  })

  test('a start deep in the image reads only the path to it and what follows', async () => {
    const refs = Array.from({ length: FAN_OUT ** 2 * 20 }, (_, index) => idOf(index))
    const { root, chunks, source } = build(refs)
    await collect(leaves(source.read, root, chunks, { from: chunks - 1 }))
    expect(source.reads).toBe(rootLevel(chunks) + 1)
  })

  test('a walk that is left early has read little', async () => {
    const refs = Array.from({ length: FAN_OUT ** 2 * 20 }, (_, index) => idOf(index))
    const { root, chunks, source } = build(refs)
    for await (const run of leaves(source.read, root, chunks)) {
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
    nodes.set(hex(leaf), new TreeNode(good.bytes.with(0, 1)))
    await expect(collect(leaves(source.read, root, chunks))).rejects.toMatchObject({
      code: 'DATA_DAMAGED',
      details: { id: hex(leaf) },
    })
    nodes.delete(hex(leaf))
    await expect(collect(leaves(source.read, root, chunks))).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
    await expect(collect(leaves(source.read, root, FAN_OUT ** 2 * 2))).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
    await expect(collect(leaves(source.read, randomBytes(32), chunks))).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
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
          const { root, chunks, nodes: reading, source } = build(refs)
          const nodes = new Map(reading)
          fc.pre(nodes.size > 0)
          const names = [...nodes.keys()]
          const gone = new Set(picks.map((pick) => names[pick % names.length]!))
          const from = at % chunks
          const told: string[] = []
          for (const name of gone) reading.delete(name)
          const onDamaged = async ({ message }: VarveError): Promise<void> => void told.push(message)
          const runs = await collect(leaves(source.read, root, chunks, { from, onDamaged }))
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
    const { root, chunks, nodes, source } = build(Array.from({ length: 100 }, (_, index) => idOf(index)))
    for (const [name, node] of nodes) nodes.set(name, new TreeNode(node.bytes.with(0, 5)))
    const told: string[] = []
    const onDamaged = async ({ message }: VarveError): Promise<void> => void told.push(message)
    expect(await collect(leaves(source.read, root, chunks, { from: 3, onDamaged }))).toEqual([
      { position: 3, count: 97, ids: null, lost: true },
    ])
    expect(told).toHaveLength(1)
    const failing = async () => Promise.reject(new VarveError('STORE_FAILED', 'no'))
    await expect(collect(leaves(failing, root, chunks, { from: 0, onDamaged }))).rejects.toMatchObject({
      code: 'STORE_FAILED',
    })
  })
})
