// The walk over trees in memory: its order, its memo, what it reads together, and damage.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { FAN_OUT, rootLevel } from '../../../protocol/image-tree.ts'
import { Fingerprints } from '../../../gateway/trees/fingerprints.ts'
import { walk, wholeTree } from '../../../gateway/trees/walk.ts'
import { collect } from '../datastore/fixture.ts'
import { build, idOf, refsArbitrary } from './built-tree.ts'

test('a node comes after all below it, level 0 from left to right, and with a memo each node once', async () => {
  await fc.assert(
    fc.asyncProperty(refsArbitrary, fc.integer({ min: 1, max: 300 }), async (refs, atOnce) => {
      const { root, chunks, source, nodes } = build(refs)
      const memo = new Fingerprints()
      const come = new Set<string>()
      let last = -1
      const enter = (id: Uint8Array): boolean => memo.add(id)
      for await (const { id, node, position } of walk(wholeTree(root), rootLevel(chunks), {
        read: source.read,
        enter,
        atOnce,
      })) {
        expect(node).toBe(nodes.get(hex(id)))
        if (node instanceof VarveError) throw node
        if (node.level > 0) for (const child of node.children) expect(child === null || come.has(hex(child))).toBe(true)
        else {
          expect(position).toBeGreaterThan(last)
          last = position
          expect(node.children[0]).toEqual(refs[position])
        }
        come.add(hex(id))
      }
      expect(come).toEqual(new Set(nodes.keys()))
      expect(source.reads).toBe(nodes.size)
    }),
    { numRuns: 20 },
  )
})

test('few reads fetch the nodes of many trees, and no read more than was asked', async () => {
  const trees = Array.from({ length: 100 }, (_, tree) =>
    build(Array.from({ length: FAN_OUT * 2 }, (__, index) => idOf(index + tree * FAN_OUT * 3))),
  )
  const lengths: number[] = []
  const roots = trees.flatMap(({ root }) => wholeTree(root))
  const nodes = new Map(trees.flatMap(({ nodes: own }) => [...own]))
  const read = async (ids: readonly Uint8Array[]) => {
    lengths.push(ids.length)
    return ids.map((id) => nodes.get(hex(id))!)
  }
  const come = await collect(walk(roots, 1, { read, enter: () => true, atOnce: 64 }))
  expect(come).toHaveLength(300)
  expect(lengths).toEqual([64, 64, 64, 36, 64, 8])
})

test('damage comes in place of a node, and nothing below it is asked for', async () => {
  const { root, chunks, source, nodes } = build(Array.from({ length: FAN_OUT ** 2 * 2 }, (_, index) => idOf(index)))
  const gone = nodes.get(hex(root!))!.children[1]!
  nodes.delete(hex(gone))
  const asked: string[] = []
  const enter = (id: Uint8Array, level: number, position: number): boolean => {
    asked.push(`${level} ${position} ${position < FAN_OUT ** 2}`)
    return hex(id) !== ''
  }
  const come = await collect(walk(wholeTree(root), rootLevel(chunks), { read: source.read, enter }))
  expect(come.filter(({ node }) => node instanceof VarveError)).toMatchObject([
    { id: gone, level: 1, position: FAN_OUT ** 2, node: { code: 'DATA_DAMAGED' } },
  ])
  expect(asked.filter((one) => one.startsWith('0'))).toHaveLength(FAN_OUT)
  expect(come).toHaveLength(1 + 1 + 1 + FAN_OUT)
})
