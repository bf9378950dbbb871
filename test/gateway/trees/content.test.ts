// Which chunks of an image are not zero, from its end on: on trees of any shape, in pages of any size, and with damage.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { CONTENT_NODES_MAX, lastContent } from '../../../gateway/trees/content.ts'
import type { ReadNodes } from '../../../gateway/trees/node-reader.ts'
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { decodeNode, encodeNode, FAN_OUT, rootLevel, TreeBuilder, type TreeNode } from '../../../protocol/image-tree.ts'

const KEY = new Uint8Array(32).fill(7)

/** An image of so many chunks, of which these are not zero: its tree, and what a read of its nodes gives. */
const imageOf = (chunks: number, present: ReadonlySet<number>, damaged: (first: number, level: number) => boolean) => {
  const nodes = new Map<string, TreeNode | VarveError>()
  const builder = new TreeBuilder({
    chunks,
    hash: keyedHash,
    nodeKey: KEY,
    onNode: ({ id, bytes, level, position }) => {
      const bad = damaged(position, level)
      nodes.set(hex(id), bad ? new VarveError('DATA_DAMAGED', `node at ${position}`) : decodeNode(bytes))
    },
  })
  for (let position = 0; position < chunks; position += 1) {
    const id = new Uint8Array(32).fill(1)
    new DataView(id.buffer).setUint32(0, position)
    builder.place(0, present.has(position) ? id : null)
  }
  const reads: string[] = []
  const read: ReadNodes = async (ids) => {
    reads.push(...ids.map(hex))
    return ids.map((id) => nodes.get(hex(id))!)
  }
  return { tree: { root: builder.finish(), level: rootLevel(chunks) }, read, reads }
}

/** All of it, in pages. */
const pages = async (image: ReturnType<typeof imageOf>, chunks: number, limit: number) => {
  const found: number[] = []
  const told: string[] = []
  const onDamaged = async ({ message }: VarveError): Promise<void> => void told.push(message)
  for (let before: number | null = chunks; before !== null;) {
    const page = await lastContent(image.read, { tree: image.tree, before, limit, onDamaged })
    expect(page.positions.length).toBeLessThanOrEqual(limit)
    if (page.next !== null) expect(page.next).toBeLessThan(before)
    found.push(...page.positions)
    before = page.next
  }
  return { found, told }
}

test('every chunk that is not zero comes once, the last ones first, however large the pages are', async () => {
  const shapes = fc.record({
    chunks: fc.integer({ min: 1, max: 3 * FAN_OUT ** 2 }),
    limit: fc.constantFrom(1, 7, 64, 1000),
    density: fc.constantFrom(0, 1, 30, 900, 1000),
    seed: fc.nat(),
  })
  await fc.assert(
    fc.asyncProperty(shapes, async ({ chunks, limit, density, seed }) => {
      const present = new Set<number>()
      for (let at = 0; at < chunks; at += 1) if ((at * 7919 + seed) % 1000 < density) present.add(at)
      const image = imageOf(chunks, present, () => false)
      const wanted = [...present].toSorted((a, b) => b - a)
      if (limit === 1 && wanted.length > 200) return
      expect((await pages(image, chunks, limit)).found).toEqual(wanted)
    }),
    { numRuns: 30 },
  )
})

test('only what is below a position is named, and one path is read for it', async () => {
  const chunks = 3 * FAN_OUT ** 2
  const image = imageOf(chunks, new Set(Array.from({ length: chunks }, (_, at) => at)), () => false)
  const onDamaged = () => Promise.reject(new Error('nothing is damaged'))
  const before = 2 * FAN_OUT ** 2 + 3
  const page = await lastContent(image.read, { tree: image.tree, before, limit: 3, onDamaged })
  expect(page).toEqual({ positions: [before - 1, before - 2, before - 3], next: before - 3 })
  expect(image.reads).toHaveLength(3)
})

test('what is below a damaged node is passed over, and told', async () => {
  const chunks = 3 * FAN_OUT
  const present = new Set(Array.from({ length: chunks }, (_, at) => at))
  const image = imageOf(chunks, present, (first, level) => level === 0 && first >= FAN_OUT)
  const { found, told } = await pages(image, chunks, 1000)
  expect(found).toEqual(Array.from({ length: FAN_OUT }, (_, at) => FAN_OUT - 1 - at))
  expect(told).toEqual([`node at ${2 * FAN_OUT}`, `node at ${FAN_OUT}`])
  const lost = imageOf(chunks, present, (_, level) => level === 1)
  expect(await pages(lost, chunks, 1000)).toEqual({ found: [], told: ['node at 0'] })
})

test('a walk reads a bounded number of nodes, also where they are damaged', async () => {
  const chunks = 2 * FAN_OUT * CONTENT_NODES_MAX
  const children = Array.from({ length: FAN_OUT }, () => new Uint8Array(32).fill(1))
  let reads = 0
  const read: ReadNodes = async (_, level) => {
    reads += 1
    return [level === 0 ? new VarveError('DATA_DAMAGED', 'a leaf') : decodeNode(encodeNode(level!, children))]
  }
  const tree = { root: new Uint8Array(32).fill(1), level: rootLevel(chunks) }
  const request = { tree, before: chunks, limit: 5, onDamaged: async () => undefined }
  const first = await lastContent(read, request)
  expect(first.positions).toEqual([])
  expect(reads).toBe(CONTENT_NODES_MAX)
  expect(first.next).toBeLessThan(chunks)
  const second = await lastContent(read, { ...request, before: first.next! })
  expect(second.next).toBeLessThan(first.next!)
})

test('others have their turns while a walk reads nodes that are all at hand', async () => {
  const chunks = FAN_OUT * CONTENT_NODES_MAX
  let reads = 0
  let [before, most] = [0, 0]
  const turn = (): void => {
    most = Math.max(most, reads - before)
    before = reads
    timer = setImmediate(turn)
  }
  let timer = setImmediate(turn)
  const read: ReadNodes = async (_, level) => {
    reads += 1
    // a leaf has its only chunk at its beginning, behind which the walk looks at 63 places
    const children = Array.from({ length: FAN_OUT }, (_child, at) =>
      level === 0 && at > 0 ? null : new Uint8Array(32).fill(1),
    )
    return [decodeNode(encodeNode(level!, children))]
  }
  const tree = { root: new Uint8Array(32).fill(1), level: rootLevel(chunks) }
  await lastContent(read, { tree, before: chunks, limit: CONTENT_NODES_MAX, onDamaged: async () => undefined })
  turn()
  clearImmediate(timer)
  expect(reads).toBe(CONTENT_NODES_MAX)
  expect(most).toBeLessThanOrEqual(128)
})
