// Maps of an image: which chunks are zero, and which differ from another image, both proved by their trees.
import { childSpan, FAN_OUT, sameRef, type Ref } from '../../protocol/image-tree.ts'
import type { ImageTree } from './image-tree.ts'

/** What the walk needs of a tree. */
export type MappedTree = Pick<ImageTree, 'chunks' | 'rootLevel' | 'root' | 'node'>

/** Leaf nodes that one answer looks at, so that none takes long; it ends early then. */
const LEAVES_MAX = 2048

/** Neighbouring chunks that all differ, or all do not. */
interface ChunkRun {
  readonly count: number
  readonly differs: boolean
}

/** Neighbouring bytes that all differ, or all do not. */
export interface MapExtent {
  readonly length: number
  readonly differs: boolean
}

/** What a tree has below a node of this level, at a chunk: undefined where it has no node of it, as its root is lower. */
export const childOf = async (tree: MappedTree | null, level: number, position: number): Promise<Ref | undefined> => {
  if (tree === null || position >= childSpan(tree.rootLevel + 1)) return null
  if (level === tree.rootLevel + 1) return tree.root
  if (level > tree.rootLevel) return undefined
  const node = await tree.node(level, position)
  return node === null ? null : node.child(Math.floor(position / childSpan(level)) % FAN_OUT)
}

/** The level of the largest subtree that begins at a chunk. */
const levelAt = (position: number, most: number): number => {
  let level = 0
  while (level < most && position % childSpan(level + 1) === 0) level++
  return level
}

/** Where the chunks of an image from `first` to `end` differ from those of another, or with null from zeroes; DATA_DAMAGED. */
async function* differences(
  tree: MappedTree,
  other: MappedTree | null,
  first: number,
  end: number,
): AsyncGenerator<ChunkRun> {
  let position = first
  let leaves = 0
  while (position < end) {
    let level = levelAt(position, tree.rootLevel + 1)
    for (; level > 0; level--) {
      const ref = await childOf(tree, level, position)
      const before = await childOf(other, level, position)
      if (ref === undefined || before === undefined || !sameRef(ref, before)) continue
      const count = Math.min(childSpan(level), end - position)
      yield { count, differs: false }
      position += count
      break
    }
    if (level > 0) continue
    if (leaves++ >= LEAVES_MAX) return
    const leafEnd = Math.min(end, (Math.floor(position / FAN_OUT) + 1) * FAN_OUT)
    const now = await tree.node(0, position)
    const then = other === null || position >= childSpan(other.rootLevel + 1) ? null : await other.node(0, position)
    while (position < leafEnd) {
      const differs = !sameRef(now?.child(position % FAN_OUT) ?? null, then?.child(position % FAN_OUT) ?? null)
      yield { count: 1, differs }
      position++
    }
  }
}

export interface MapRequest {
  readonly tree: MappedTree
  /** Null for zeroes. */
  readonly other: MappedTree | null
  readonly chunkBytes: number
  /** In bytes. */
  readonly offset: number
  readonly length: number
  /** Extents at most; the map may end early, and has one at least. */
  readonly limit: number
}

/** The map of a range from its begin on; DATA_DAMAGED where already the first extent cannot be told. */
export const mapOf = async ({ tree, other, chunkBytes, offset, length, limit }: MapRequest): Promise<MapExtent[]> => {
  const first = Math.floor(offset / chunkBytes)
  const end = Math.ceil((offset + length) / chunkBytes)
  const extents: { length: number; differs: boolean }[] = []
  let at = offset
  let position = first
  try {
    for await (const { count, differs } of differences(tree, other, first, end)) {
      position += count
      const bytes = Math.min(position * chunkBytes, offset + length) - at
      const last = extents.at(-1)
      if (last?.differs === differs) last.length += bytes
      else if (extents.length >= limit) break
      else extents.push({ length: bytes, differs })
      at += bytes
    }
  } catch (thrown) {
    // the next request begins there and fails
    if (extents.length === 0) throw thrown
  }
  return extents
}
