// What is live, and whose it is: walks image trees, each shared subtree once, and then holds the whole index against what was found.
import { chunkLength, hex, ID_BYTES } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { rootLevel, type Ref, type TreeNode } from '../../protocol/image-tree.ts'
import type { IndexPage } from '../datastore/database/collection.ts'
import { Fingerprints } from '../datastore/fingerprints.ts'
import { RECORD, recordBytes } from '../datastore/format.ts'
import { childAt } from '../datastore/tree.ts'

/** Records that one pass marks: more are done in several passes over the trees, so that marks take 200 MB at most (300 while they grow). */
export const MARKS_MAX = 11_000_000

/** Most passes: ids are told apart by their first byte. */
const PASSES_MAX = 256

/** Nodes that are read together: what lies below them, up to 64 times as many ids, is in memory meanwhile, for each level. */
const NODES_AT_ONCE = 256

/** Dead records handed over at once. */
const DEAD_BATCH = 4096

/** Set in a mark once the index has its id. */
const SEEN = 0x8000_0000
const CODE_MASK = 0x7fff_ffff

/** The owner of what no image alone holds: the whole tenant. */
export const OWNER_ALL = 1

/** A tree to walk. */
export interface SurveyTree {
  readonly root: Ref
  /** Size of the disk, in bytes. */
  readonly size: number
  /** Owner code of what this tree holds, from OWNER_ALL to 2^31 - 1. */
  readonly owner: number
}

export interface SurveyOptions {
  readonly trees: readonly SurveyTree[]
  /** Single subtrees and chunks that belong to all: what running uploads have placed so far; `level` -1 is a chunk. */
  readonly parts: readonly { readonly id: Uint8Array; readonly level: number }[]
  /** Ids of other records that are live. */
  readonly records: readonly Uint8Array[]
  /** Ids of tree nodes that are known to be lost: what is below them is not known. */
  readonly lostNodes: readonly Uint8Array[]
  readonly chunkBytes: number
  /** Owner of what two owners hold. */
  readonly join: (a: number, b: number) => number
  /** Rows that the index has. */
  readonly rows: number
  /** Nodes in the order asked, or the error that each gave. */
  readonly nodes: (ids: readonly Uint8Array[]) => Promise<(TreeNode | VarveError)[]>
  readonly page: (after: Uint8Array | null, end: Uint8Array | null) => Promise<IndexPage>
  /** Takes ids that nothing refers to, with the row id of each one's pack and its stored length. */
  readonly onDead: (ids: Uint8Array, packs: Uint32Array, stored: Uint32Array) => Promise<void>
  readonly onProgress: (phase: 'mark' | 'examine', done: number, total: number | null) => void
  readonly marksMax?: number
}

interface Sum {
  records: number
  /** Stored bytes with record headers. */
  bytes: number
}

/** What lies in one pack: rows of the index, and bytes of those that are live. */
export interface PackSum {
  rows: number
  liveRows: number
  liveBytes: number
}

export interface OwnerSum {
  plainBytes: number
  storedBytes: number
}

export interface SurveyResult {
  readonly nodes: number
  readonly examined: Sum
  readonly live: Sum
  readonly dead: Sum
  /** Ids that something refers to and the index does not have. */
  readonly missing: number
  readonly packs: ReadonlyMap<number, PackSum>
  /** By owner code; `plainBytes` counts chunks, `storedBytes` every record. */
  readonly owners: ReadonlyMap<number, OwnerSum>
  /** Plain bytes of the chunks that are not zero in each tree, with repetition; 0 where a lost node hides them. */
  readonly used: readonly number[]
}

export class Survey {
  readonly #options: SurveyOptions
  readonly #lost: ReadonlySet<string>
  #marks = new Fingerprints()
  /** Present chunks below each node, and one. */
  #counts = new Fingerprints()
  #nodes = 0
  #inPass: (firstByte: number) => boolean = () => true
  readonly #used: number[] = []
  readonly #examined: Sum = { records: 0, bytes: 0 }
  readonly #live: Sum = { records: 0, bytes: 0 }
  readonly #dead: Sum = { records: 0, bytes: 0 }
  readonly #packs = new Map<number, PackSum>()
  readonly #owners = new Map<number, OwnerSum>()
  #missing = 0

  constructor(options: SurveyOptions) {
    this.#options = options
    this.#lost = new Set(options.lostNodes.map(hex))
  }

  /** DATA_DAMAGED, before anything is called dead, when a node that is not known to be lost cannot be read. */
  async run(): Promise<SurveyResult> {
    const { rows, marksMax = MARKS_MAX } = this.#options
    const passes = Math.min(PASSES_MAX, Math.max(1, Math.ceil(rows / marksMax)))
    for (let pass = 0; pass < passes; pass++) {
      const from = Math.ceil((pass * 256) / passes)
      const to = Math.ceil(((pass + 1) * 256) / passes)
      this.#inPass = (firstByte) => firstByte >= from && firstByte < to
      this.#marks = new Fingerprints()
      this.#counts = new Fingerprints()
      await this.#mark(pass === 0)
      await this.#examine(from, to)
    }
    const { examined, live, dead } = { examined: this.#examined, live: this.#live, dead: this.#dead }
    const [nodes, missing, packs, owners] = [this.#nodes, this.#missing, this.#packs, this.#owners]
    return { nodes, examined, live, dead, missing, packs, owners, used: this.#used }
  }

  async #mark(first: boolean): Promise<void> {
    const { trees, parts, records, chunkBytes } = this.#options
    for (const id of records) this.#markOne(id, OWNER_ALL)
    const level = ({ size }: SurveyTree): number => rootLevel(Math.ceil(size / chunkBytes))
    // trees of one owner and height are walked together, so that few reads fetch many nodes
    const groups = Map.groupBy(
      trees.filter(({ root }) => root !== null),
      (tree) => `${tree.owner} ${level(tree)}`,
    )
    for (const group of groups.values())
      await this.#descend(
        group.flatMap(({ root }) => (root === null ? [] : [root])),
        level(group[0]!),
        group[0]!.owner,
      )
    if (first) for (const tree of trees) this.#used.push(await this.#usedBy(tree))
    for (const { id, level: at } of parts) {
      if (at < 0) this.#markOne(id, OWNER_ALL)
      else await this.#descend([id], at, OWNER_ALL)
    }
  }

  /** Bytes of the chunks of a walked tree that are not zero. */
  async #usedBy({ root, size }: SurveyTree): Promise<number> {
    const { chunkBytes } = this.#options
    const used = root === null ? 0 : Math.max(0, this.#counts.get(root) - 1) * chunkBytes
    return used === 0 ? 0 : used - (await this.#beyondEnd(root, size, Math.ceil(size / chunkBytes)))
  }

  /** How much of the last chunk's place lies past the disk's end, where that chunk is present. */
  async #beyondEnd(root: Ref, size: number, chunks: number): Promise<number> {
    const { chunkBytes } = this.#options
    const beyond = chunkBytes - chunkLength(chunks - 1, size, chunkBytes)
    if (beyond === 0) return 0
    const nodes = async (ids: readonly Uint8Array[]): Promise<TreeNode[]> =>
      (await this.#options.nodes(ids)).map((node) => {
        if (node instanceof VarveError) throw node
        return node
      })
    try {
      return (await childAt({ nodes }, root, rootLevel(chunks), 0, chunks - 1)) === null ? 0 : beyond
    } catch (error) {
      if (error instanceof VarveError && error.code === 'DATA_DAMAGED') return 0
      throw error
    }
  }

  /** Marks nodes of one level and all below them whose owner changes by it, and counts the chunks present below each. */
  async #descend(ids: readonly Uint8Array[], level: number, owner: number): Promise<void> {
    const changed = ids.filter((id) => this.#markOne(id, owner))
    for (let from = 0; from < changed.length; from += NODES_AT_ONCE) {
      const some = changed.slice(from, from + NODES_AT_ONCE)
      const below = (await this.#read(some, level)).map(
        (node) => node?.children.filter((child) => child !== null) ?? null,
      )
      const children = below.flatMap((one) => one ?? [])
      if (level > 0) await this.#descend(children, level - 1, owner)
      else for (const child of children) if (this.#inPass(child[0]!)) this.#markOne(child, owner)
      for (const [index, one] of below.entries()) {
        if (one === null) continue
        const counted = (sum: number, child: Uint8Array): number => sum + Math.max(0, this.#counts.get(child) - 1)
        this.#counts.set(some[index]!, (level > 0 ? one.reduce(counted, 0) : one.length) + 1)
      }
    }
  }

  /** Nodes in the order asked; null for one that is known to be lost. */
  async #read(ids: readonly Uint8Array[], level: number): Promise<(TreeNode | null)[]> {
    const found = await this.#options.nodes(ids)
    this.#nodes += ids.length
    this.#options.onProgress('mark', this.#nodes, null)
    return found.map((node, index) => {
      const name = hex(ids[index]!)
      if (!(node instanceof VarveError)) {
        if (node.level === level) return node
        throw new VarveError('DATA_DAMAGED', `tree node ${name} has another level`, { details: { id: name } })
      }
      if (node.code === 'DATA_DAMAGED' && this.#lost.has(name)) return null
      throw node
    })
  }

  /** True when the id's owner changed. */
  #markOne(id: Uint8Array, owner: number): boolean {
    const before = this.#marks.get(id)
    const after = before === 0 ? owner : this.#options.join(before, owner)
    if (after === before) return false
    this.#marks.set(id, after)
    return true
  }

  async #examine(from: number, to: number): Promise<void> {
    const end = to === 256 ? null : Uint8Array.of(to)
    let after: Uint8Array | null = from === 0 ? null : Uint8Array.of(from)
    let dead: { ids: Uint8Array[]; packs: number[]; stored: number[] } = { ids: [], packs: [], stored: [] }
    const hand = async (): Promise<void> => {
      const { ids, packs, stored } = dead
      if (ids.length === 0) return
      dead = { ids: [], packs: [], stored: [] }
      const joined = new Uint8Array(ids.length * ID_BYTES)
      for (const [index, id] of ids.entries()) joined.set(id, index * ID_BYTES)
      await this.#options.onDead(joined, Uint32Array.from(packs), Uint32Array.from(stored))
    }
    while (true) {
      const page = await this.#options.page(after, end)
      const rows = page.types.length
      if (rows === 0) break
      for (let row = 0; row < rows; row++) {
        const id = page.ids.subarray(row * ID_BYTES, (row + 1) * ID_BYTES)
        if (this.#examineRow(id, page, row)) continue
        dead.ids.push(id)
        dead.packs.push(page.packs[row]!)
        dead.stored.push(page.stored[row]!)
        if (dead.ids.length >= DEAD_BATCH) await hand()
      }
      after = page.ids.slice((rows - 1) * ID_BYTES)
      this.#options.onProgress('examine', this.#examined.records, this.#options.rows)
    }
    await hand()
    this.#missing += this.#marks.count((firstByte, mark) => this.#inPass(firstByte) && (mark & SEEN) === 0)
  }

  /** True for a live row. */
  #examineRow(id: Uint8Array, page: IndexPage, row: number): boolean {
    const bytes = recordBytes(page.stored[row]!)
    const pack = this.#packs.get(page.packs[row]!) ?? { rows: 0, liveRows: 0, liveBytes: 0 }
    this.#packs.set(page.packs[row]!, pack)
    pack.rows++
    add(this.#examined, bytes)
    const mark = this.#marks.get(id)
    if (mark === 0) {
      add(this.#dead, bytes)
      return false
    }
    this.#marks.set(id, (mark | SEEN) >>> 0)
    add(this.#live, bytes)
    pack.liveRows++
    pack.liveBytes += bytes
    const code = mark & CODE_MASK
    const owner = this.#owners.get(code) ?? { plainBytes: 0, storedBytes: 0 }
    this.#owners.set(code, owner)
    owner.storedBytes += bytes
    if (page.types[row] === RECORD.chunk) owner.plainBytes += page.plain[row]!
    return true
  }
}

const add = (sum: Sum, bytes: number): void => {
  sum.records++
  sum.bytes += bytes
}
