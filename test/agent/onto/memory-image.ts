// Images in memory: what a disk holds, its tree, and a gateway that gives its chunks, or lies.
import { chunkLength } from '../../../protocol/chunk.ts'
import { decodeNode, nodeKey, rootLevel, TreeBuilder, type TreeNode } from '../../../protocol/image-tree.ts'
import { bundlesOf, frame, PACKING } from '../../../protocol/host/chunk-steps.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import type { StoredChunks } from '../../../agent/export/image-reads.ts'
import { ImageTree } from '../../../agent/export/image-tree.ts'
import type { ChunkRun } from '../../../agent/image/segments.ts'
import type { DiskExtent } from '../../../agent/nbd/extents.ts'

export const CHUNK_BYTES = 4096

export const ID_KEY = new Uint8Array(32).fill(9)

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0)

/** What a gateway has of an image, with counts of what it was asked for. */
export class MemoryImage {
  readonly content: Buffer
  readonly chunks: number
  readonly tree: ImageTree
  /** Nodes and chunks that were asked for. */
  nodesRead = 0
  chunksRead = 0
  /** Changes what it answers. */
  lieNodes: (nodes: Uint8Array[]) => Uint8Array[] = (nodes) => nodes
  lieChunks: (stored: StoredChunks, position: number) => StoredChunks = (stored) => stored
  readonly #nodes = new Map<string, { readonly bytes: Uint8Array; readonly node: TreeNode }>()

  constructor(content: Buffer) {
    this.content = content
    this.chunks = Math.ceil(content.length / CHUNK_BYTES)
    const builder = new TreeBuilder({
      chunks: this.chunks,
      hash: keyedHash,
      nodeKey: nodeKey(keyedHash, ID_KEY),
      onNode: ({ level, position, bytes }) =>
        void this.#nodes.set(`${level}/${position / 64 ** (level + 1)}`, { bytes, node: decodeNode(bytes) }),
    })
    for (let position = 0; position < this.chunks; position++) builder.place(0, this.#id(position))
    const root = builder.finish()
    const reads = {
      nodes: async (level: number, position: number, count: number) => this.#read(level, position, count),
    }
    this.tree = new ImageTree({ reads, idKey: ID_KEY, chunkBytes: CHUNK_BYTES, size: content.length, root })
    expectLevel(this.tree.rootLevel, rootLevel(this.chunks))
  }

  plain(position: number): Buffer {
    return this.content.subarray(position * CHUNK_BYTES, (position + 1) * CHUNK_BYTES)
  }

  readonly reads = {
    chunks: async (position: number, count: number): Promise<StoredChunks> => {
      this.chunksRead += count
      const placed = Array.from({ length: count }, (_, index) => position + index).flatMap((at) => {
        const id = this.#id(at)
        return id === null ? [] : [{ id, position: at, plain: this.plain(at) }]
      })
      const room = new Uint8Array(count * CHUNK_BYTES)
      const { heads, stored } = frame(bundlesOf(placed, CHUNK_BYTES), PACKING, room)
      return this.lieChunks({ heads, stored }, position)
    },
  }

  /** The map of some bytes, and the ids of their chunks, as threads read them. */
  static hashed(content: Buffer): {
    extents: AsyncIterable<DiskExtent>
    hash: (runs: readonly ChunkRun[]) => Promise<{ ids: Uint8Array; zero: Uint8Array }>
    ahead: number
  } {
    const size = content.length
    return {
      ahead: 4,
      extents: (async function* () {
        yield { offset: 0, length: size, kind: 'data' as const }
      })(),
      hash: async (runs) => {
        const positions = runs.flatMap(({ kind, position, count }) =>
          kind === 'read' ? Array.from({ length: count }, (_, index) => position + index) : [],
        )
        const ids = new Uint8Array(positions.length * 32)
        const zero = new Uint8Array(positions.length)
        for (const [index, position] of positions.entries()) {
          const from = position * CHUNK_BYTES
          const plain = content.subarray(from, from + chunkLength(position, size, CHUNK_BYTES))
          if (isZero(plain)) zero[index] = 1
          else ids.set(keyedHash(ID_KEY, plain), index * 32)
        }
        return { ids, zero }
      },
    }
  }

  #id(position: number): Uint8Array | null {
    const plain = this.plain(position)
    return isZero(plain) ? null : keyedHash(ID_KEY, plain)
  }

  #read(level: number, position: number, count: number): Uint8Array[] {
    const found: Uint8Array[] = []
    for (let index = 0; index < count; index++) {
      const node = this.#nodes.get(`${level}/${Math.floor(position / 64 ** (level + 1)) + index}`)
      if (node !== undefined) found.push(node.bytes)
    }
    this.nodesRead += found.length
    return this.lieNodes(found)
  }
}

const expectLevel = (is: number, wanted: number): void => {
  if (is !== wanted) throw new Error(`a tree of level ${is} instead of ${wanted}`)
}
