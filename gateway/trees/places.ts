// What an image holds at single places, read along the paths to them.
import { hex } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { childSpan, FAN_OUT, type Ref } from '../../protocol/image-tree.ts'
import type { ReadNodes } from './node-reader.ts'

/** An image's tree: its root, and the root's level. */
export interface Tree {
  readonly root: Ref
  readonly level: number
}

/** What nodes of `level` hold at each of these chunks; nodes that several of them share are read once. DATA_DAMAGED. */
const refsAt = async (read: ReadNodes, tree: Tree, level: number, positions: readonly number[]): Promise<Ref[]> => {
  let refs: Ref[] = positions.map(() => tree.root)
  for (let at = tree.level; at >= level; at--) {
    const ids = new Map(refs.filter((ref) => ref !== null).map((ref) => [hex(ref), ref]))
    if (ids.size === 0) return refs
    const nodes = await read([...ids.values()], at)
    const byId = new Map([...ids.keys()].map((name, index) => [name, nodes[index]!]))
    refs = refs.map((ref, index) => {
      if (ref === null) return null
      const node = byId.get(hex(ref))!
      if (node instanceof VarveError) throw node
      return node.children[Math.floor(positions[index]! / childSpan(at)) % FAN_OUT]!
    })
  }
  return refs
}

/**
 * The ref that a node of `level` holds for the subtree at chunk `position`, which must be a multiple of that child's span:
 * what TreeBuilder.place(level, ...) takes to keep this subtree. `null` where it is all zero. DATA_DAMAGED, UPLOAD_INVALID.
 */
export const childAt = async (read: ReadNodes, tree: Tree, level: number, position: number): Promise<Ref> => {
  const top = level === tree.level + 1 && position === 0
  if (!top && (level > tree.level || level < 0 || position % childSpan(level) !== 0 || position < 0))
    throw new VarveError('UPLOAD_INVALID', `there is no subtree of level ${level} at chunk ${position}`)
  if (position >= childSpan(tree.level + 1)) return null
  return (await refsAt(read, tree, level, [position]))[0]!
}

/** What an image holds at each of these chunks, `null` for zeroes. DATA_DAMAGED. */
export const chunksAt = (read: ReadNodes, tree: Tree, positions: readonly number[]): Promise<Ref[]> =>
  refsAt(read, tree, 0, positions)
