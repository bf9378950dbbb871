// The walk over image trees: many nodes with one read, only subtrees that the caller wants, in bounded memory.
import { VarveError } from '../../protocol/errors.ts'
import { childSpan, FAN_OUT, type Ref, type TreeNode } from '../../protocol/image-tree.ts'
import type { ReadNodes } from './node-reader.ts'

/** A subtree of an image. */
export interface Subtree {
  readonly id: Uint8Array
  /** Its first chunk. */
  readonly position: number
}

/** A node that the walk came to, or the DATA_DAMAGED that it is. */
export interface WalkedNode extends Subtree {
  readonly level: number
  readonly node: TreeNode | VarveError
}

export interface WalkOptions {
  readonly read: ReadNodes
  /** Nodes that are read together: so many of each level are in memory. */
  readonly atOnce?: number
  /** Whether the walk goes into this subtree: with a memo that it changes, once into one that many share. */
  readonly enter: (id: Uint8Array, level: number, position: number) => boolean
}

/** The subtrees below a node, from left to right. */
export function* childrenOf(node: TreeNode, position: number): Generator<Subtree> {
  const span = childSpan(node.level)
  for (const [index, id] of node.children.entries()) if (id !== null) yield { id, position: position + index * span }
}

function* below(nodes: Frame['above']): Generator<Subtree> {
  for (const { node, position } of nodes) yield* childrenOf(node, position)
}

interface Frame {
  readonly level: number
  readonly subtrees: Iterator<Subtree>
  /** The nodes that they are the children of. */
  readonly above: readonly (WalkedNode & { readonly node: TreeNode })[]
}

const take = ({ subtrees, level }: Frame, { enter, atOnce = FAN_OUT }: WalkOptions): Subtree[] => {
  const taken: Subtree[] = []
  while (taken.length < atOnce) {
    const next = subtrees.next()
    if (next.done === true) break
    const { id, position } = next.value
    if (enter(id, level, position)) taken.push(next.value)
  }
  return taken
}

/**
 * The nodes of subtrees of one level and of all below them. A damaged one comes as soon as it is read, a good one once all that
 * was entered below it has come: so those of level 0 come from left to right, and what a caller notes of a node in `enter` it may
 * settle when the node comes. What `read` rejects with.
 */
export async function* walk(
  subtrees: Iterable<Subtree>,
  level: number,
  options: WalkOptions,
): AsyncGenerator<WalkedNode> {
  const frames: Frame[] = [{ level, subtrees: subtrees[Symbol.iterator](), above: [] }]
  for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
    const taken = take(frame, options)
    if (taken.length === 0) {
      frames.pop()
      for (const one of frame.above) yield one
      continue
    }
    const nodes = await options.read(
      taken.map(({ id }) => id),
      frame.level,
    )
    const good: (WalkedNode & { readonly node: TreeNode })[] = []
    for (const [index, subtree] of taken.entries()) {
      const node = nodes[index]!
      if (node instanceof VarveError || frame.level === 0) yield { ...subtree, level: frame.level, node }
      else good.push({ ...subtree, level: frame.level, node })
    }
    if (good.length > 0) frames.push({ level: frame.level - 1, subtrees: below(good), above: good })
  }
}

/** An image's whole tree, for a walk. */
export const wholeTree = (root: Ref): Subtree[] => (root === null ? [] : [{ id: root, position: 0 }])
