// The survey against a naive count: random forests of images that share chunks and subtrees, with garbage, gaps and several
// passes.
import * as fc from 'fast-check'
import type { IndexPage } from '../../../gateway/catalog/collection.ts'
import { expect, test } from 'vitest'
import { hex, ID_BYTES } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { decodeNode, nodeKey, rootLevel, TreeBuilder, type Ref, type TreeNode } from '../../../protocol/image-tree.ts'
import { ownDamage } from '../../../gateway/packs/damage.ts'
import { RECORD, recordBytes } from '../../../gateway/packs/format.ts'
import { joinIds } from '../../../protocol/host/bytes.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import type { OnDead } from '../../../gateway/maintenance/kept-dead.ts'
import { Lattice, type OwnedImage } from '../../../gateway/maintenance/lattice.ts'
import { OWNER_ALL, Survey, type SurveyOptions, type SurveyResult } from '../../../gateway/maintenance/survey.ts'

const KEY = new Uint8Array(32).fill(7)
const NODE_KEY = nodeKey(keyedHash, KEY)
const CHUNK = 4096
const PAGE = 100

interface IndexRow {
  readonly id: Uint8Array
  readonly type: number
  readonly pack: number
  readonly stored: number
  readonly plain: number
}

const chunkId = (content: number): Uint8Array => keyedHash(KEY, Uint8Array.of(content & 255, content >> 8))

/** A store in memory: nodes by id, and the index in the order of ids. */
class Forest {
  readonly nodes = new Map<string, TreeNode>()
  readonly rows = new Map<string, IndexRow>()

  chunk(content: number): Uint8Array {
    const id = chunkId(content)
    const stored = 100 + (content % 50)
    this.rows.set(hex(id), { id, type: RECORD.chunk, pack: 1 + (content % 3), stored, plain: CHUNK })
    return id
  }

  image(contents: readonly (number | null)[]): Ref {
    const builder = new TreeBuilder({
      chunks: contents.length,
      hash: keyedHash,
      nodeKey: NODE_KEY,
      onNode: ({ id, bytes }) => {
        this.nodes.set(hex(id), decodeNode(bytes))
        this.rows.set(hex(id), { id, type: RECORD.node, pack: 9, stored: bytes.length, plain: bytes.length })
      },
    })
    for (const content of contents) builder.place(0, content === null ? null : this.chunk(content))
    return builder.finish()
  }

  /** Every id that a tree leads to, by name. */
  reach(root: Ref, into = new Set<string>()): Set<string> {
    if (root === null) return into
    into.add(hex(root))
    for (const child of this.nodes.get(hex(root))?.children ?? []) this.reach(child, into)
    return into
  }

  page(after: Uint8Array | null, end: Uint8Array | null): IndexPage {
    const compare = (a: Uint8Array, b: Uint8Array): number => Buffer.compare(a, b)
    const rows = [...this.rows.values()]
      .filter(({ id }) => (after === null || compare(id, after) > 0) && (end === null || compare(id, end) < 0))
      .sort((a, b) => compare(a.id, b.id))
      .slice(0, PAGE)
    const ids = new Uint8Array(rows.length * ID_BYTES)
    for (const [index, { id }] of rows.entries()) ids.set(id, index * ID_BYTES)
    return {
      ids,
      types: Uint8Array.from(rows, ({ type }) => type),
      packs: Uint32Array.from(rows, ({ pack }) => pack),
      bytes: Uint32Array.from(rows, ({ stored }) => recordBytes(stored)),
      plain: Uint32Array.from(rows, ({ plain }) => plain),
    }
  }

  async survey(options: Partial<SurveyOptions>): Promise<{ result: SurveyResult; dead: Set<string> }> {
    const dead = new Set<string>()
    const told = new Set<string>()
    const into =
      (set: Set<string>): OnDead =>
      async (ids) => {
        for (let at = 0; at < ids.length; at += ID_BYTES) set.add(hex(ids.subarray(at, at + ID_BYTES)))
      }
    const all: SurveyOptions = {
      trees: [],
      parts: [],
      records: [],
      chunkBytes: CHUNK,
      join: () => OWNER_ALL,
      rows: this.rows.size,
      nodes: async (ids) =>
        ids.map((id) => {
          const node = this.nodes.get(hex(id))
          const details = { id: hex(id), pack: 'a pack', offset: 1 }
          return node ?? ownDamage(new VarveError('DATA_DAMAGED', 'no such node', { details }))
        }),
      page: async (after, end) => this.page(after, end),
      damaged: async () => new Uint8Array(0),
      packIds: async () => [1, 2, 3, 9],
      onProgress: () => {},
      ...options,
    }
    const survey = new Survey(all)
    const result = await survey.count()
    await survey.sweep(into(dead))
    await new Survey(all).count(into(told))
    expect(told).toEqual(dead)
    return { result, dead }
  }
}

// few contents, so that images and places share chunks; long runs of the same disk, so that they share subtrees
const disk = fc.array(fc.option(fc.integer({ min: 0, max: 400 }), { freq: 3 }), { minLength: 1, maxLength: 300 })
const forest = fc.record({
  disks: fc.array(disk, { minLength: 1, maxLength: 3 }),
  images: fc.array(
    fc.record({
      machine: fc.constantFrom('a', 'b', 'c'),
      point: fc.integer({ min: 0, max: 3 }),
      name: fc.constantFrom('vda', 'vdb'),
      disk: fc.nat(2),
      edit: fc.option(fc.tuple(fc.nat(299), fc.integer({ min: 0, max: 400 }))),
    }),
    { maxLength: 8 },
  ),
  garbage: fc.array(disk, { maxLength: 2 }),
  marksMax: fc.constantFrom(10, 100, 100_000),
  keptMax: fc.constantFrom(0, 100_000),
})

test('tells the live from the dead, and whose each record is, as a naive count does', async () => {
  await fc.assert(
    fc.asyncProperty(forest, async ({ disks, images, garbage, marksMax, keptMax }) => {
      const store = new Forest()
      const owned: OwnedImage[] = []
      const contents: (number | null)[][] = []
      for (const { machine, point, name, disk: which, edit } of images) {
        const id = `${machine}-${point}`
        if (owned.some((one) => one.point === id && one.disk === name)) continue
        const base = [...disks[which % disks.length]!]
        if (edit !== null) base[edit[0] % base.length] = edit[1]
        owned.push({ machine, point: id, disk: name })
        contents.push(base)
      }
      const roots = contents.map((one) => store.image(one))
      for (const one of garbage) store.image(one)
      const lattice = new Lattice(owned)
      // sizes that end within their last chunk
      const trees = roots.map((root, index) => ({
        root,
        size: contents[index]!.length * CHUNK - (index % 2) * 1000,
        owner: lattice.image(index),
      }))
      const { result, dead } = await store.survey({ trees, join: (a, b) => lattice.join(a, b), marksMax, keptMax })

      const owners = new Map<string, number>()
      for (const [index, root] of roots.entries())
        for (const name of store.reach(root)) {
          const code = lattice.image(index)
          const before = owners.get(name)
          owners.set(name, before === undefined ? code : lattice.join(before, code))
        }
      const sums = new Map<number, { plainBytes: number; storedBytes: number }>()
      for (const [name, code] of owners) {
        const row = store.rows.get(name)!
        const sum = sums.get(code) ?? { plainBytes: 0, storedBytes: 0 }
        sums.set(code, sum)
        sum.storedBytes += recordBytes(row.stored)
        if (row.type === RECORD.chunk) sum.plainBytes += row.plain
      }
      expect(result.owners).toEqual(sums)
      expect(dead).toEqual(new Set([...store.rows.keys()].filter((name) => !owners.has(name))))
      expect(result.live.records).toBe(owners.size)
      expect(result.dead.records).toBe(dead.size)
      expect(result.examined.records).toBe(store.rows.size)
      expect(result.missing).toBe(0)
      const used = contents.map((one, index) => {
        const present = one.filter((content) => content !== null).length * CHUNK
        return present - (one.at(-1) !== null && index % 2 === 1 ? 1000 : 0)
      })
      expect(result.used).toEqual(used)
      const packs = [...result.packs.values()]
      expect(packs.reduce((sum, { rows }) => sum + rows, 0)).toBe(store.rows.size)
      expect(packs.reduce((sum, { liveRows }) => sum + liveRows, 0)).toBe(owners.size)
      expect(packs.reduce((sum, { liveBytes }) => sum + liveBytes, 0)).toBe(result.live.bytes)
    }),
    { numRuns: 150 },
  )
})

test('reads each shared node once, however many images share it', async () => {
  const store = new Forest()
  const base = Array.from({ length: 4096 }, (_, index) => index)
  const images = Array.from({ length: 50 }, (_, index) =>
    base.map((content, at) => (at === index * 3 ? 9999 : content)),
  )
  const trees = [base, ...images].map((one) => ({ root: store.image(one), size: 4096 * CHUNK, owner: OWNER_ALL }))
  const { result } = await store.survey({ trees })
  expect(result.nodes).toBe(store.nodes.size)
})

test('counts what is referred to and not in the index, on every pass', async () => {
  const store = new Forest()
  const root = store.image(Array.from({ length: 500 }, (_, index) => index))
  for (const content of [3, 77, 400]) store.rows.delete(hex(chunkId(content)))
  const trees = [{ root, size: 500 * CHUNK, owner: OWNER_ALL }]
  for (const marksMax of [20, 100_000]) {
    const records = [keyedHash(KEY, Uint8Array.of(1, 2, 3))]
    expect((await store.survey({ trees, records, marksMax })).result.missing).toBe(4)
  }
})

test('parts of an upload are live with all below them', async () => {
  const store = new Forest()
  const root = store.image(Array.from({ length: 200 }, (_, index) => index))
  const lone = store.chunk(300)
  const other = store.chunk(301)
  const parts = [
    { id: root!, level: rootLevel(200) },
    { id: lone, level: -1 },
  ]
  const { dead } = await store.survey({ parts })
  expect([...dead]).toEqual([hex(other)])
})

test('what is known to be damaged is not missing, and what of it nobody needs is named', async () => {
  const store = new Forest()
  const root = store.image(Array.from({ length: 500 }, (_, index) => index))
  const known = [3, 77].map(chunkId)
  for (const id of [...known, chunkId(400)]) store.rows.delete(hex(id))
  const damaged = async (): Promise<Uint8Array> => joinIds([...known, chunkId(900)])
  const trees = [{ root, size: 500 * CHUNK, owner: OWNER_ALL }]
  for (const marksMax of [20, 100_000]) {
    const { result } = await store.survey({ trees, damaged, marksMax })
    expect(result).toMatchObject({ missing: 1, missingKnown: 2, unneeded: [chunkId(900)] })
  }
})

test('rows that name no pack are counted', async () => {
  const store = new Forest()
  const root = store.image([1, 2, 3])
  const trees = [{ root, size: 3 * CHUNK, owner: OWNER_ALL }]
  expect((await store.survey({ trees })).result.strayRows).toBe(0)
  expect((await store.survey({ trees, packIds: async () => [1, 2, 3] })).result.strayRows).toBe(1)
})

test('nodes that cannot be read are named, with what was given up apart unless others need it too', async () => {
  const store = new Forest()
  const shared = Array.from({ length: 200 }, (_, index) => index)
  const root = store.image(shared)
  const other = store.image(shared.with(150, 999))
  const leafOf = (ref: Ref, index: number): Uint8Array => store.nodes.get(hex(ref!))!.children[index]!
  const own = leafOf(root, 2)
  store.nodes.delete(hex(own))
  const size = 200 * CHUNK
  const tree = (ref: Ref, givenUp: boolean): SurveyOptions['trees'][number] => ({
    root: ref,
    size,
    owner: OWNER_ALL,
    ...(givenUp ? { givenUp } : {}),
  })
  for (const marksMax of [20, 100_000]) {
    const kept = await store.survey({ trees: [tree(root, false), tree(other, false)], marksMax })
    expect(kept.result).toMatchObject({ unwalkable: 1, givenUp: 0, news: [{ id: own, type: RECORD.node }] })
    const gone = await store.survey({ trees: [tree(root, true), tree(other, false)], marksMax })
    expect(gone.result).toMatchObject({ unwalkable: 0, givenUp: 1, news: [{ id: own }] })
    // only what the lost leaf alone led to
    expect([...gone.dead]).toEqual([hex(chunkId(150))])
  }
  const both = leafOf(other, 0)
  store.nodes.delete(hex(both))
  const { result } = await store.survey({ trees: [tree(root, true), tree(other, false)] })
  expect(result).toMatchObject({ unwalkable: 1, givenUp: 1 })
})

test('a tree that was walked and cannot be any more ends the sweep', async () => {
  const store = new Forest()
  const root = store.image(Array.from({ length: 200 }, (_, index) => index))
  store.image([500, 501])
  const leaf = hex(store.nodes.get(hex(root!))!.children[1]!)
  const trees = [{ root, size: 200 * CHUNK, owner: OWNER_ALL }]
  let reads = 0
  const nodes: SurveyOptions['nodes'] = async (ids) => {
    reads += ids.length
    // five nodes, twice each in two passes: the next walk is that of the sweep
    if (reads > 10) store.nodes.delete(leaf)
    return ids.map(
      (id) => store.nodes.get(hex(id)) ?? new VarveError('DATA_DAMAGED', 'gone', { details: { id: hex(id) } }),
    )
  }
  await expect(store.survey({ trees, nodes, marksMax: 120, keptMax: 0 })).rejects.toMatchObject({
    code: 'TREE_UNREADABLE',
  })
})
