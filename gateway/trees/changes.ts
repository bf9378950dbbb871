// Where two images differ: their trees are walked together, and only below nodes that differ.
import { setImmediate } from 'node:timers/promises'
import { VarveError } from '../../protocol/errors.ts'
import { childSpan, FAN_OUT, rootLevel, sameRef, type Ref } from '../../protocol/image-tree.ts'
import type { ChangeKind } from '../../protocol/changes.ts'
import type { ReadNodes } from './node-reader.ts'

/** Nodes after which a walk ends with what it has, once it has looked at some. */
export const CHANGES_NODES_MAX = 4096

/** Pairs of nodes that are read together; so many of each level are in memory. */
const PAIRS_AT_ONCE = FAN_OUT

/** An image as it is compared. */
export interface ComparedTree {
  readonly root: Ref
  readonly chunks: number
}

export interface ChangesRequest {
  readonly from: ComparedTree
  readonly to: ComparedTree
  /** Chunks of one cell, a power of two: what is told is a whole number of them. */
  readonly cell: number
  /** The first chunk that is looked at, a multiple of the cell, and the one behind the last. */
  readonly first: number
  readonly end: number
  /** Ranges at most. */
  readonly limit: number
  readonly signal: AbortSignal
  /** Told of each damaged node. */
  readonly onDamaged: (error: VarveError) => Promise<unknown>
  /** One byte per id: 1 where its record is known to be damaged; null where none is. */
  readonly known: ((ids: readonly Uint8Array[]) => Promise<Uint8Array>) | null
}

/** Neighbouring chunks that differ; see `points.changes` for the kinds. */
export interface Changed {
  readonly position: number
  readonly count: number
  readonly kind: ChangeKind
}

/** Ranges in ascending order; `next` is the first chunk that was not looked at, null where all were. */
export interface Changes {
  readonly ranges: readonly Changed[]
  readonly next: number | null
}

type Children = readonly Ref[]

const NOTHING: Children = Array<null>(FAN_OUT).fill(null)

/** One of the two trees. A lower one is seen as the first subtree of the other's height. */
class Side {
  readonly level: number
  reads = 0
  readonly #read: ReadNodes

  constructor(read: ReadNodes, { chunks }: ComparedTree) {
    this.#read = read
    this.level = rootLevel(chunks)
  }

  /** The children of each of these nodes of `level`, or the DATA_DAMAGED that it is. */
  async children(refs: readonly Ref[], level: number): Promise<(Children | VarveError)[]> {
    if (level > this.level) return refs.map((ref) => (ref === null ? NOTHING : NOTHING.with(0, ref)))
    const ids = refs.filter((ref) => ref !== null)
    this.reads += ids.length
    const nodes = ids.length === 0 ? [] : await this.#read(ids, level)
    let next = 0
    return refs.map((ref) => {
      if (ref === null) return NOTHING
      const node = nodes[next++]!
      return node instanceof VarveError ? node : node.children
    })
  }
}

/** Two subtrees that differ, with the position of their first chunk. */
interface Pair {
  readonly position: number
  readonly from: Ref
  readonly to: Ref
}

/** Both nodes of a pair. */
interface Nodes {
  readonly position: number
  readonly from: Children
  readonly to: Children
}

class Walk {
  readonly ranges: { position: number; count: number; kind: ChangeKind }[] = []
  next: number | null = null
  readonly #request: ChangesRequest
  readonly #from: Side
  readonly #to: Side
  /** Nodes of this level have children that are not larger than a cell. */
  readonly #cellLevel: number
  #hasLooked = false
  #turnReads = 0

  constructor(read: ReadNodes, request: ChangesRequest) {
    this.#request = request
    this.#from = new Side(read, request.from)
    this.#to = new Side(read, request.to)
    let level = 0
    while (childSpan(level + 1) <= request.cell) level++
    this.#cellLevel = level
  }

  async run(): Promise<void> {
    const { from, to } = this.#request
    const level = Math.max(this.#from.level, this.#to.level, this.#cellLevel)
    if (!sameRef(from.root, to.root)) await this.#below([{ position: 0, from: from.root, to: to.root }], level)
  }

  /** Goes through pairs of nodes of `level`; false once there is enough, with `next` set. */
  async #below(pairs: readonly Pair[], level: number): Promise<boolean> {
    for (let at = 0; at < pairs.length; at += PAIRS_AT_ONCE) {
      const some = pairs.slice(at, at + PAIRS_AT_ONCE)
      if (this.#hasLooked && this.#from.reads + this.#to.reads >= CHANGES_NODES_MAX)
        return this.#stop(some[0]!.position)
      const both = await this.#nodes(some, level)
      for (const [index, { position }] of some.entries()) {
        const nodes = both[index]!
        const goesOn =
          nodes === null
            ? this.#add('damaged', position, childSpan(level + 1))
            : level === this.#cellLevel
              ? await this.#cells(nodes, level)
              : await this.#below(this.#differing(nodes, level), level - 1)
        if (!goesOn) return false
      }
    }
    return true
  }

  /** Both nodes of each pair; null where one of them cannot be read. */
  async #nodes(pairs: readonly Pair[], level: number): Promise<(Nodes | null)[]> {
    const { signal, onDamaged } = this.#request
    signal.throwIfAborted()
    const reads = this.#from.reads + this.#to.reads
    // where all are cached no read waits
    if (reads - this.#turnReads >= PAIRS_AT_ONCE) {
      this.#turnReads = reads
      await setImmediate()
    }
    const from = await this.#from.children(
      pairs.map((pair) => pair.from),
      level,
    )
    const to = await this.#to.children(
      pairs.map((pair) => pair.to),
      level,
    )
    const nodes: (Nodes | null)[] = []
    for (const [index, { position }] of pairs.entries()) {
      const [one, other] = [from[index]!, to[index]!]
      for (const damaged of [one, other]) if (damaged instanceof VarveError) await onDamaged(damaged)
      nodes.push(one instanceof VarveError || other instanceof VarveError ? null : { position, from: one, to: other })
    }
    return nodes
  }

  /** The subtrees of two nodes that differ and are looked at. */
  #differing({ position, from, to }: Nodes, level: number): Pair[] {
    const { first, end } = this.#request
    const span = childSpan(level)
    return from.flatMap((ref, index): Pair[] => {
      const at = position + index * span
      if (at >= end || at + span <= first || sameRef(ref, to[index]!)) return []
      return [{ position: at, from: ref, to: to[index]! }]
    })
  }

  /** Tells the cells of two nodes whose children are not larger than one. */
  async #cells(nodes: Nodes, level: number): Promise<boolean> {
    this.#hasLooked = true
    const { cell } = this.#request
    const differing = this.#differing(nodes, level)
    const lost = await this.#lost(differing)
    const perCell = cell / childSpan(level)
    let told = -1
    for (const pair of differing) {
      const index = Math.floor((pair.position - nodes.position) / cell)
      if (index === told) continue
      const isLost = lost.some((at) => Math.floor((at - nodes.position) / cell) === index)
      const differs = isLost || (await this.#differs(pair, level))
      if (differs === false) continue
      told = index
      const held = nodes.to.slice(index * perCell, (index + 1) * perCell)
      const kind = isLost || differs === null ? 'damaged' : held.every((ref) => ref === null) ? 'zero' : 'data'
      if (!this.#add(kind, nodes.position + index * cell, cell)) return false
    }
    return true
  }

  /** Positions of what is known to be lost now. */
  async #lost(pairs: readonly Pair[]): Promise<number[]> {
    const { known } = this.#request
    const held = pairs.flatMap(({ position, to }) => (to === null ? [] : [{ position, to }]))
    if (known === null || held.length === 0) return []
    const flags = await known(held.map(({ to }) => to))
    return held.flatMap(({ position }, index) => (flags[index] === 1 ? [position] : []))
  }

  /**
   * Whether two subtrees below a node of `level`, whose ids differ, differ before the end of the second image: a first one that
   * was larger has more in them, and trees of two heights have other ids above the lower one. Null where a node that tells it
   * cannot be read.
   */
  async #differs(pair: Pair, level: number): Promise<boolean | null> {
    const { from, to } = this.#request
    const [low, high] = [this.#from.level, this.#to.level].toSorted((one, other) => one - other) as [number, number]
    const isUneven = low < high && pair.position === 0 && level - 1 > low
    const isCut = from.chunks > to.chunks && pair.position + childSpan(level) > to.chunks
    if (level === 0 || !(isUneven || isCut)) return true
    const [nodes] = await this.#nodes([pair], level - 1)
    if (nodes === null || nodes === undefined) return null
    const span = childSpan(level - 1)
    for (let index = 0; index < FAN_OUT; index++) {
      const position = pair.position + index * span
      if (position >= to.chunks) break
      const child = { position, from: nodes.from[index]!, to: nodes.to[index]! }
      if (sameRef(child.from, child.to)) continue
      const differs = await this.#differs(child, level - 1)
      if (differs !== false) return differs
    }
    return false
  }

  #stop(position: number): false {
    this.next = Math.max(position, this.#request.first)
    return false
  }

  #add(kind: ChangeKind, begin: number, count: number): boolean {
    this.#hasLooked = true
    const { first, end, limit } = this.#request
    const position = Math.max(begin, first)
    const behind = Math.min(begin + count, end)
    if (behind <= position) return true
    const last = this.ranges.at(-1)
    if (last !== undefined && last.kind === kind && last.position + last.count === position)
      last.count = behind - last.position
    else if (this.ranges.length === limit) return this.#stop(position)
    else this.ranges.push({ position, count: behind - position, kind })
    return true
  }
}

/**
 * The cells in which two images differ, from `first` on: reads a pair of nodes for each one that differs and has children larger
 * than a cell. Takes what lies beyond the end of the first image as zeroes. What the signal was aborted with.
 */
export const changedIn = async (read: ReadNodes, request: ChangesRequest): Promise<Changes> => {
  const walk = new Walk(read, request)
  await walk.run()
  const { ranges, next } = walk
  return { ranges, next }
}
