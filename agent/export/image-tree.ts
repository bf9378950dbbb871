// The hash tree of one image, read as far as it is needed: each node is held against its id, which its parent or the point has.
import { chunkCount, equalBytes } from '../../protocol/chunk.ts'
import { VarveError, asVarveError } from '../../protocol/errors.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import {
  childSpan,
  decodeNode,
  FAN_OUT,
  nodeKey,
  rootLevel,
  type Ref,
  type TreeNode,
} from '../../protocol/image-tree.ts'
import type { ImageReads } from './image-reads.ts'

/** Neighbouring nodes that are asked for together: a leaf is over 4 MiB of the disk where chunks have 64 KiB. */
const NODES_AT_ONCE = 16

/** Nodes of one image that are kept, the least recently used one goes first; about 2 KiB each. */
const NODES_KEPT_MAX = 8192

/** Indexes of one level, so that a level and an index make one number. */
const INDEXES = 2 ** 40

export interface TreeOptions {
  readonly reads: Pick<ImageReads, 'nodes'>
  readonly idKey: Uint8Array
  readonly chunkBytes: number
  /** Bytes of the disk, and the root that the restore point names. */
  readonly size: number
  readonly root: Ref
}

export class ImageTree {
  readonly chunks: number
  readonly rootLevel: number
  readonly root: Ref
  readonly #reads: Pick<ImageReads, 'nodes'>
  readonly #key: Uint8Array
  readonly #kept = new Map<number, Uint8Array>()
  readonly #coming = new Map<number, Promise<void>>()

  constructor({ reads, idKey, chunkBytes, size, root }: TreeOptions) {
    this.chunks = chunkCount(size, chunkBytes)
    this.rootLevel = rootLevel(this.chunks)
    this.root = root
    this.#reads = reads
    this.#key = nodeKey(keyedHash, idKey)
  }

  /** The node of a level over a chunk; null where all below it is zero. DATA_DAMAGED. */
  async node(level: number, position: number): Promise<TreeNode | null> {
    const index = Math.floor(position / childSpan(level + 1))
    const key = level * INDEXES + index
    for (;;) {
      const kept = this.#kept.get(key)
      if (kept !== undefined) {
        this.#kept.delete(key)
        this.#kept.set(key, kept)
        return decodeNode(kept)
      }
      const coming = this.#coming.get(key)
      if (coming !== undefined) await coming
      else if (level === this.rootLevel) {
        if (this.root === null) return null
        await this.#fetch(level, index, [this.root])
      } else {
        const parent = await this.node(level + 1, position)
        const from = index % FAN_OUT
        if (parent === null || parent.child(from) === null) return null
        // it may have come while its parent was fetched
        if (this.#kept.has(key) || this.#coming.has(key)) continue
        await this.#fetch(level, index, this.#run(level, index, parent))
      }
    }
  }

  /** Ids of a node and of those to its right that are worth asking for with it. */
  #run(level: number, index: number, node: TreeNode): readonly Ref[] {
    const from = index % FAN_OUT
    const run: Ref[] = []
    for (let at = from; at < Math.min(FAN_OUT, from + NODES_AT_ONCE); at++) {
      const key = level * INDEXES + index + run.length
      if (this.#kept.has(key) || this.#coming.has(key)) break
      run.push(node.child(at))
    }
    while (run.at(-1) === null) run.pop()
    return run
  }

  /** Fetches neighbouring nodes with these ids; where one of several is damaged, the first alone. */
  async #fetch(level: number, index: number, ids: readonly Ref[]): Promise<void> {
    const fetched = this.#ask(level, index, ids).catch(async (thrown: unknown) => {
      if (ids.length === 1 || asVarveError(thrown).code !== 'DATA_DAMAGED') throw thrown
      await this.#ask(level, index, ids.slice(0, 1))
    })
    const keys = ids.flatMap((id, at) => (id === null ? [] : [level * INDEXES + index + at]))
    // whoever waits for one that did not come asks again, once nothing is under way any more
    const settled = fetched.catch(() => {})
    for (const key of keys) this.#coming.set(key, settled)
    try {
      await fetched
    } finally {
      for (const key of keys) this.#coming.delete(key)
    }
  }

  async #ask(level: number, index: number, ids: readonly Ref[]): Promise<void> {
    const nodes = await this.#reads.nodes(level, index * childSpan(level + 1), ids.length)
    let next = 0
    for (const [at, id] of ids.entries()) {
      if (id === null) continue
      const node = nodes[next++]
      if (node === undefined || !equalBytes(keyedHash(this.#key, node), id) || decodeNode(node).level !== level)
        throw new VarveError(
          'DATA_DAMAGED',
          'a tree node that was received is not the one that the restore point names',
        )
      this.#keep(level * INDEXES + index + at, ownBytes(node))
    }
  }

  #keep(key: number, node: Uint8Array): void {
    this.#kept.set(key, node)
    if (this.#kept.size <= NODES_KEPT_MAX) return
    for (const oldest of this.#kept.keys()) {
      this.#kept.delete(oldest)
      return
    }
  }
}
