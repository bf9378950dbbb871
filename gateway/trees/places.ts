// What an image holds at single places, read along the paths to them.
import { idName } from '../../protocol/host/bytes.ts'
import { VarveError } from '../../protocol/errors.ts'
import { childSpan, FAN_OUT, type Ref } from '../../protocol/image-tree.ts'
import type { ReadNodes } from './node-reader.ts'

/** An image's tree: its root, and the root's level. */
export interface Tree {
  readonly root: Ref
  readonly level: number
}

/**
 * The refs that nodes of `level` hold for the subtrees from chunk `position` on, which must be a multiple of such a child's span:
 * as many of `count` as lie in one node, at least one; what TreeBuilder.place(level, ...) takes to keep them. `null` where a
 * subtree is all zero. DATA_DAMAGED, UPLOAD_INVALID.
 */
export const childrenAt = async (
  read: ReadNodes,
  { root, level: top }: Tree,
  level: number,
  position: number,
  count: number,
): Promise<readonly Ref[]> => {
  if (level === top + 1 && position === 0) return [root]
  if (level > top || level < 0 || position % childSpan(level) !== 0 || position < 0)
    throw new VarveError('UPLOAD_INVALID', `there is no subtree of level ${level} at chunk ${position}`)
  const indexAt = (at: number): number => Math.floor(position / childSpan(at)) % FAN_OUT
  let ref = position >= childSpan(top + 1) ? null : root
  for (let at = top; ref !== null; at--) {
    const [node] = await read([ref], at)
    if (node instanceof VarveError) throw node
    if (at === level) return node!.slice(indexAt(at), count)
    ref = node!.child(indexAt(at))
  }
  return Array.from({ length: Math.min(count, FAN_OUT - indexAt(level)) }, () => null)
}

/** What an image holds at each of these chunks, `null` for zeroes; nodes that several share are read once. DATA_DAMAGED. */
export const chunksAt = async (read: ReadNodes, tree: Tree, positions: readonly number[]): Promise<Ref[]> => {
  let refs: Ref[] = positions.map(() => tree.root)
  for (let at = tree.level; at >= 0; at--) {
    const ids = new Map(refs.filter((ref) => ref !== null).map((ref) => [idName(ref), ref]))
    if (ids.size === 0) return refs
    const nodes = await read([...ids.values()], at)
    const byId = new Map([...ids.keys()].map((name, index) => [name, nodes[index]!]))
    refs = refs.map((ref, index) => {
      if (ref === null) return null
      const node = byId.get(idName(ref))!
      if (node instanceof VarveError) throw node
      return node.child(Math.floor(positions[index]! / childSpan(at)) % FAN_OUT)
    })
  }
  return refs
}
