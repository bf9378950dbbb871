// Which chunks of what is there differ from a restore point's image: all of it is hashed in threads and held against the tree,
// of which only the nodes are read whose content is another one. Nothing is written.
import { splitIds } from '../../protocol/host/bytes.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { encodeNode, FAN_OUT, nodeKey, sameRef, type Ref } from '../../protocol/image-tree.ts'
import type { ImageTree } from '../export/image-tree.ts'
import { childOf } from '../export/extents.ts'
import { hashedSegments, type HashedImage, type HashedSegment } from '../image/hashed-image.ts'
import { ChunkSet } from './chunk-set.ts'
import { Tasks } from './tasks.ts'

/** Leaves that are held against the tree at once. */
const LEAVES_AT_ONCE = 32

export interface DifferencesRequest extends HashedImage {
  readonly tree: Pick<ImageTree, 'chunks' | 'rootLevel' | 'root' | 'node'>
  readonly idKey: Uint8Array
  readonly chunkBytes: number
  readonly signal: AbortSignal
  /** Told of how far it is, in chunks, and of bytes that were read. */
  readonly onLooked: (chunks: number, readBytes: number) => void
}

export interface Differences {
  readonly chunks: ChunkSet
  /** Chunks of them. */
  readonly count: number
}

/** A leaf of the tree as it is on the disk; undefined where nothing was looked at. */
type Leaf = (Ref | undefined)[]

class Comparison {
  readonly #request: DifferencesRequest
  readonly #key: Uint8Array
  readonly #chunks: ChunkSet
  readonly #leaves = new Tasks(LEAVES_AT_ONCE)
  #leaf: Leaf = []
  #position = 0
  #count = 0

  constructor(request: DifferencesRequest) {
    this.#request = request
    this.#key = nodeKey(keyedHash, request.idKey)
    this.#chunks = new ChunkSet(request.tree.chunks)
  }

  async run(): Promise<Differences> {
    const { chunkBytes, signal } = this.#request
    try {
      for await (const hashed of hashedSegments(this.#request, chunkBytes)) {
        signal.throwIfAborted()
        await this.#take(hashed)
      }
      await this.#endLeaf()
      await this.#leaves.done()
    } finally {
      await this.#leaves.settled()
    }
    return { chunks: this.#chunks, count: this.#count }
  }

  async #take({ segment: { runs, reads }, hashed }: HashedSegment): Promise<void> {
    const { onLooked, chunkBytes } = this.#request
    const ids = hashed === null ? [] : splitIds(hashed.ids)
    let read = 0
    for (const { kind, count } of runs) {
      for (let left = count; left > 0; left--) {
        if (kind === 'read') {
          this.#leaf.push(hashed!.zero[read] === 1 ? null : ids[read]!)
          read++
        } else this.#leaf.push(kind === 'zero' ? null : undefined)
        if (this.#leaf.length === FAN_OUT) await this.#endLeaf()
      }
    }
    onLooked(this.#position + this.#leaf.length, reads * chunkBytes)
  }

  async #endLeaf(): Promise<void> {
    const leaf = this.#leaf
    const position = this.#position
    this.#leaf = []
    this.#position += leaf.length
    if (leaf.some((ref) => ref !== undefined)) await this.#leaves.add(() => this.#compare(position, leaf))
  }

  async #compare(position: number, leaf: Leaf): Promise<void> {
    const { tree } = this.#request
    const wanted = (await childOf(tree, 1, position)) ?? null
    if (!leaf.includes(undefined) && sameRef(this.#refOf(leaf as Ref[]), wanted)) return
    const node = wanted === null ? null : await tree.node(0, position)
    for (const [index, ref] of leaf.entries()) {
      if (ref === undefined || sameRef(ref, node?.child(index) ?? null)) continue
      this.#chunks.add(position + index)
      this.#count++
    }
  }

  /** The id of a leaf with these chunks. */
  #refOf(leaf: readonly Ref[]): Ref {
    if (leaf.every((ref) => ref === null)) return null
    const children = [...leaf, ...Array<null>(FAN_OUT - leaf.length).fill(null)]
    return keyedHash(this.#key, encodeNode(0, children))
  }
}

/** Where the image differs from the tree; DATA_DAMAGED, what reading the image ends with, the signal's reason. */
export const findDifferences = (request: DifferencesRequest): Promise<Differences> => new Comparison(request).run()
