// What is live, and who owns it: walks image trees, each shared subtree once, and then compares the whole index with the result.
import type { IndexPage } from '../catalog/collection.ts'
import { chunkLength, hex, ID_BYTES } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { rootLevel, type Ref, type TreeNode } from '../../protocol/image-tree.ts'
import { damageOf, type Damage } from '../packs/damage.ts'
import { joinIds, splitIds, idAt } from '../../protocol/host/bytes.ts'
import { Fingerprints } from '../trees/fingerprints.ts'
import { RECORD } from '../packs/format.ts'
import type { ReadNodes } from '../trees/node-reader.ts'
import { chunksAt } from '../trees/places.ts'
import { walk } from '../trees/walk.ts'
import { IndexTally, type Sum } from './index-tally.ts'
import { KeptDead, type OnDead } from './kept-dead.ts'

/** Records that one pass marks: more take several passes, so that marks take 200 MB at most (300 while they grow). */
const MARKS_MAX = 11_000_000

/** Most passes: they split ids by their first byte. */
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

/** Unreadable nodes that a result names; all are counted. */
const NEWS_MAX = 1024

/** A tree to walk. */
export interface SurveyTree {
  readonly root: Ref
  /** Size of the disk, in bytes. */
  readonly size: number
  /** Owner code of what this tree holds, from OWNER_ALL to 2^31 - 1. */
  readonly owner: number
  /** Its loss is accepted: an unreadable node that only it needs keeps nothing. */
  readonly givenUp?: true
}

export interface SurveyOptions {
  readonly trees: readonly SurveyTree[]
  /** Single subtrees and chunks that belong to all: what running uploads have placed so far; `level` -1 is a chunk. */
  readonly parts: readonly { readonly id: Uint8Array; readonly level: number }[]
  /** Ids of other records that are live. */
  readonly records: readonly Uint8Array[]
  readonly chunkBytes: number
  /** Owner of what two owners hold. */
  readonly join: (a: number, b: number) => number
  /** Rows that the index has. */
  readonly rows: number
  readonly nodes: ReadNodes
  readonly page: (after: Uint8Array | null, end: Uint8Array | null) => Promise<IndexPage>
  /** Packed ids of the records that are known to be damaged now. */
  readonly damaged: () => Promise<Uint8Array>
  /** Handles of the packs that rows of the index may name now. */
  readonly packIds: () => Promise<readonly number[]>
  readonly onProgress: (phase: 'mark' | 'examine', done: number, total: number | null) => void
  readonly marksMax?: number
  readonly keptMax?: number
}

export interface SurveyResult {
  readonly nodes: number
  readonly examined: Sum
  readonly live: Sum
  readonly dead: Sum
  /** Referenced ids that the index lacks: those not known to be damaged, and those that are. */
  readonly missing: number
  readonly missingKnown: number
  /** Rows of the index that name no pack. */
  readonly strayRows: number
  /** Unreadable nodes of trees that are needed, and of those that are given up. */
  readonly unwalkable: number
  readonly givenUp: number
  /** Those of both that were not known to be damaged, at most NEWS_MAX. */
  readonly news: readonly Damage[]
  /** Ids that were known to be damaged before and that nothing refers to. */
  readonly unneeded: readonly Uint8Array[]
  readonly packs: IndexTally['packs']
  readonly owners: IndexTally['owners']
  /** Plain bytes of the chunks that are not zero in each tree, with repetition; 0 where a lost node hides them. */
  readonly used: readonly number[]
}

/** What trees that are walked together have in common. */
interface Trees {
  readonly level: number
  readonly owner: number
  readonly givenUp: boolean
}

export class Survey {
  readonly #options: SurveyOptions
  #marks = new Fingerprints()
  /** Present chunks below each node, and one. */
  #counts = new Fingerprints()
  #nodes = 0
  #inPass: (firstByte: number) => boolean = () => true
  readonly #used: number[] = []
  readonly #tally = new IndexTally()
  #missing = 0
  #missingKnown = 0
  /** Names of nodes that cannot be read. */
  readonly #unwalkable = new Set<string>()
  readonly #givenUp = new Set<string>()
  readonly #news: Damage[] = []
  /** What was known to be damaged when it began. */
  #damaged: Uint8Array[] = []
  readonly #kept: KeptDead
  readonly #unneeded: Uint8Array[] = []

  constructor(options: SurveyOptions) {
    this.#options = options
    this.#kept = new KeptDead(options.keptMax)
  }

  /** Walks everything and checks all of the index; dead records go to `onDead` or are kept. STORE_FAILED, CATALOG_DAMAGED. */
  async count(onDead: OnDead = async (...batch) => this.#kept.add(...batch)): Promise<SurveyResult> {
    this.#damaged = splitIds(await this.#options.damaged())
    for (const [from, to] of this.#passes()) {
      await this.#begin(from, to, from === 0)
      await this.#examine(from, to, (row, page) => this.#count(row, page), onDead)
      await this.#sumMissing()
    }
    const { examined, live, dead, packs, owners } = this.#tally
    return {
      nodes: this.#nodes,
      examined,
      live,
      dead,
      packs,
      owners,
      missing: this.#missing,
      missingKnown: this.#missingKnown,
      strayRows: this.#tally.strayRows(await this.#options.packIds()),
      unwalkable: this.#unwalkable.size,
      givenUp: this.#givenUp.size,
      news: this.#news,
      unneeded: this.#unneeded,
      used: this.#used,
    }
  }

  /** Hands over what is dead, once the count is agreed to. TREE_UNREADABLE if a tree cannot be read in a second walk. */
  async sweep(onDead: OnDead): Promise<void> {
    if (this.#kept.whole) return await this.#kept.hand(onDead)
    const unwalkable = this.#unwalkable.size
    const passes = this.#passes()
    for (const [from, to] of passes) {
      // the marks of the only pass are still there
      if (passes.length > 1) await this.#begin(from, to, false)
      if (this.#unwalkable.size > unwalkable)
        throw new VarveError('TREE_UNREADABLE', 'a tree that was walked cannot be read any more: nothing more goes')
      await this.#examine(from, to, (row, page) => this.#marks.has(idAt(page.ids, row)), onDead)
    }
  }

  /** First bytes of ids from which and up to which each pass goes. */
  #passes(): [number, number][] {
    const { rows, marksMax = MARKS_MAX } = this.#options
    const passes = Math.min(PASSES_MAX, Math.max(1, Math.ceil(rows / marksMax)))
    const start = (pass: number): number => Math.ceil((pass * 256) / passes)
    return Array.from({ length: passes }, (_, pass) => [start(pass), start(pass + 1)])
  }

  async #begin(from: number, to: number, first: boolean): Promise<void> {
    this.#inPass = (firstByte) => firstByte >= from && firstByte < to
    this.#marks = new Fingerprints()
    this.#counts = new Fingerprints()
    await this.#mark(first)
  }

  async #mark(first: boolean): Promise<void> {
    const { trees, parts, records, chunkBytes } = this.#options
    for (const id of records) this.#markOne(id, OWNER_ALL)
    const level = ({ size }: SurveyTree): number => rootLevel(Math.ceil(size / chunkBytes))
    // trees of one owner and height are walked together, so that few reads fetch many nodes
    const descend = async (some: readonly SurveyTree[]): Promise<void> => {
      const groups = Map.groupBy(
        some.filter(({ root }) => root !== null),
        (tree) => `${tree.owner} ${level(tree)}`,
      )
      for (const group of groups.values())
        await this.#descend(
          group.flatMap(({ root }) => (root === null ? [] : [root])),
          { level: level(group[0]!), owner: group[0]!.owner, givenUp: isGivenUp(group[0]!) },
        )
    }
    await descend(trees.filter((tree) => !isGivenUp(tree)))
    for (const { id, level: at } of parts) {
      if (at < 0) this.#markOne(id, OWNER_ALL)
      else await this.#descend([id], { level: at, owner: OWNER_ALL, givenUp: false })
    }
    // last: what others need as well is never given up
    await descend(trees.filter(isGivenUp))
    if (first) for (const tree of trees) this.#used.push(await this.#usedBy(tree))
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
    try {
      const [last] = await chunksAt(this.#options.nodes, { root, level: rootLevel(chunks) }, [chunks - 1])
      return last === null ? 0 : beyond
    } catch (error) {
      if (error instanceof VarveError && error.code === 'DATA_DAMAGED') return 0
      throw error
    }
  }

  /** Marks nodes of one level and all below them whose owner changes by it, and counts the chunks present below each. */
  async #descend(ids: readonly Uint8Array[], { level, owner, givenUp }: Trees): Promise<void> {
    const subtrees = ids.map((id) => ({ id, position: 0 }))
    const enter = (id: Uint8Array): boolean => this.#markOne(id, owner)
    for await (const { id, node } of walk(subtrees, level, { read: this.#read, enter, atOnce: NODES_AT_ONCE })) {
      if (node instanceof VarveError) this.#unreadable(id, node, givenUp)
      else this.#counts.set(id, this.#present(node, owner) + 1)
    }
  }

  /** Chunks that are present below a node, whose children were walked; those of level 0 are marked now. */
  #present({ level, children }: TreeNode, owner: number): number {
    let present = 0
    for (const child of children) {
      if (child === null) continue
      if (level === 0 && this.#inPass(child[0]!)) this.#markOne(child, owner)
      present += level === 0 ? 1 : Math.max(0, this.#counts.get(child) - 1)
    }
    return present
  }

  readonly #read: ReadNodes = (ids, level) => {
    this.#nodes += ids.length
    this.#options.onProgress('mark', this.#nodes, null)
    return this.#options.nodes(ids, level)
  }

  #unreadable(id: Uint8Array, error: VarveError, givenUp: boolean): void {
    const name = hex(id)
    if (this.#unwalkable.has(name) || this.#givenUp.has(name)) return
    const named = givenUp ? this.#givenUp : this.#unwalkable
    named.add(name)
    const damage = damageOf(error, RECORD.node)
    // what the index does not have is missing
    if (damage !== null && damage.place !== null && this.#news.length < NEWS_MAX) this.#news.push(damage)
  }

  /** True when the id's owner changed. */
  #markOne(id: Uint8Array, owner: number): boolean {
    const before = this.#marks.get(id)
    const after = before === 0 ? owner : this.#options.join(before, owner)
    if (after === before) return false
    this.#marks.set(id, after)
    return true
  }

  /** Goes through the rows of a pass; those for which `isLive` is false are handed to `onDead`. */
  async #examine(
    from: number,
    to: number,
    isLive: (row: number, page: IndexPage) => boolean,
    onDead: OnDead,
  ): Promise<void> {
    const end = to === 256 ? null : Uint8Array.of(to)
    let after: Uint8Array | null = from === 0 ? null : Uint8Array.of(from)
    let dead: { ids: Uint8Array[]; packs: number[]; bytes: number[] } = { ids: [], packs: [], bytes: [] }
    let done = 0
    const hand = async (): Promise<void> => {
      const { ids, packs, bytes } = dead
      dead = { ids: [], packs: [], bytes: [] }
      if (ids.length > 0) await onDead(joinIds(ids), Uint32Array.from(packs), Uint32Array.from(bytes))
    }
    while (true) {
      const page = await this.#options.page(after, end)
      const rows = page.types.length
      if (rows === 0) break
      for (let row = 0; row < rows; row++) {
        if (isLive(row, page)) continue
        dead.ids.push(idAt(page.ids, row))
        dead.packs.push(page.packs[row]!)
        dead.bytes.push(page.bytes[row]!)
        if (dead.ids.length >= DEAD_BATCH) await hand()
      }
      after = page.ids.slice((rows - 1) * ID_BYTES)
      done += rows
      this.#options.onProgress('examine', done, this.#options.rows)
    }
    await hand()
  }

  /** Marked ids that this pass did not find in the index, and known damage that nothing needs. */
  async #sumMissing(): Promise<void> {
    const inPass = (id: Uint8Array): boolean => this.#inPass(id[0]!)
    for (const id of this.#damaged.filter(inPass)) if (!this.#marks.has(id)) this.#unneeded.push(id)
    // earlier damage may be healed by now; newer damage left the index in the same transaction
    for (const id of [...this.#damaged, ...splitIds(await this.#options.damaged())].filter(inPass)) {
      const mark = this.#marks.get(id)
      if (mark === 0 || (mark & SEEN) !== 0) continue
      this.#marks.set(id, (mark | SEEN) >>> 0)
      this.#missingKnown++
    }
    this.#missing += this.#marks.count((firstByte, mark) => this.#inPass(firstByte) && (mark & SEEN) === 0)
  }

  /** True for a live row. */
  #count(row: number, page: IndexPage): boolean {
    const id = idAt(page.ids, row)
    const mark = this.#marks.get(id)
    if (mark !== 0) this.#marks.set(id, (mark | SEEN) >>> 0)
    this.#tally.add(page, row, mark & CODE_MASK)
    return mark !== 0
  }
}

const isGivenUp = (tree: SurveyTree): boolean => tree.givenUp === true
