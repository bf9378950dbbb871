// Single places of trees in memory, held against the plain list of refs that they were built from.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import { childSpan, FAN_OUT, rootLevel, TreeBuilder, TreeNode } from '../../../protocol/image-tree.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { childrenAt, chunksAt } from '../../../gateway/trees/places.ts'
import { build, idOf, KEY, refsArbitrary } from './built-tree.ts'

describe('childrenAt', () => {
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
            const fits = Math.max(1, Math.floor((end - copy.position) / childSpan(at)))
            const refs = await childrenAt(source.read, { root, level }, at, copy.position, fits)
            expect(refs.length).toBeLessThanOrEqual(fits)
            for (const ref of refs) copy.place(at, ref)
          }
        }
        expect(copy.finish()).toEqual(root)
      }),
      { numRuns: 15 },
    )
  })

  test('the whole tree is the child above its root, and outside of it everything is zero', async () => {
    const { root, source } = build(Array.from({ length: 100 }, (_, index) => idOf(index)))
    expect(await childrenAt(source.read, { root, level: 1 }, 2, 0, 5)).toEqual([root])
    expect(await childrenAt(source.read, { root, level: 1 }, 0, childSpan(2) * 3, 2)).toEqual([null, null])
    expect(await childrenAt(source.read, { root: null, level: 1 }, 0, FAN_OUT - 1, 9)).toEqual([null])
  })

  test.each([
    [3, 0],
    [1, 1],
    [-1, 0],
    [2, FAN_OUT ** 2],
    [0, -1],
  ])('level %d at chunk %d is no subtree', async (level, position) => {
    const { root, source } = build(Array.from({ length: 100 }, (_, index) => idOf(index)))
    await expect(childrenAt(source.read, { root, level: 1 }, level, position, 1)).rejects.toMatchObject({
      code: 'UPLOAD_INVALID',
    })
  })
})

describe('chunksAt', () => {
  test('says of any chunks what the tree was built from, whatever is asked together and in which order', async () => {
    await fc.assert(
      fc.asyncProperty(refsArbitrary, fc.array(fc.nat(), { maxLength: 300 }), async (refs, picks) => {
        const { root, chunks, source } = build(refs)
        const positions = picks.map((pick) => pick % chunks)
        const found = await chunksAt(source.read, { root, level: rootLevel(chunks) }, positions)
        expect(found.map((ref) => ref && hex(ref))).toEqual(
          positions.map((position) => refs[position] ?? null).map((ref) => ref && hex(ref)),
        )
      }),
      { numRuns: 30 },
    )
  })

  test('reads each node once that several chunks share, and nothing where all is zero', async () => {
    const refs = Array.from({ length: FAN_OUT ** 2 * 3 }, (_, index) => (index < FAN_OUT ** 2 ? null : idOf(index)))
    const { root, chunks, source } = build(refs)
    const level = rootLevel(chunks)
    const positions = Array.from({ length: FAN_OUT }, (_, index) => FAN_OUT ** 2 + index)
    await chunksAt(source.read, { root, level }, [...positions, ...positions])
    expect(source.reads).toBe(level + 1)
    source.reads = 0
    expect(await chunksAt(source.read, { root, level }, [0, 5, FAN_OUT])).toEqual([null, null, null])
    expect(source.reads).toBe(1)
    source.reads = 0
    expect(await chunksAt(source.read, { root: null, level }, [1, chunks - 1])).toEqual([null, null])
    expect(await chunksAt(source.read, { root, level }, [])).toEqual([])
    expect(source.reads).toBe(0)
  })

  test('a node of the wrong level, or an absent one, is damage that names it', async () => {
    const { root, chunks, source, nodes } = build(Array.from({ length: FAN_OUT * 3 }, (_, index) => idOf(index)))
    const leaf = nodes.get(hex(root!))!.children[1]!
    nodes.set(hex(leaf), new TreeNode(nodes.get(hex(leaf))!.bytes.with(0, 1)))
    const ask = (position: number) => chunksAt(source.read, { root, level: rootLevel(chunks) }, [0, position])
    await expect(ask(FAN_OUT + 1)).rejects.toMatchObject({ code: 'DATA_DAMAGED', details: { id: hex(leaf) } })
    nodes.delete(hex(leaf))
    await expect(ask(FAN_OUT)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
    expect(await ask(2 * FAN_OUT)).toHaveLength(2)
  })
})
