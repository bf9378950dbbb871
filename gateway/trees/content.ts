// Which chunks of an image are not zero, from its end on.
import { setImmediate } from 'node:timers/promises'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { childSpan, FAN_OUT, type Ref } from '../../protocol/image-tree.ts'
import type { ReadNodes } from './node-reader.ts'
import type { Tree } from './places.ts'

/** Nodes that one walk reads: what is damaged may be many, and names no chunk. */
export const CONTENT_NODES_MAX = 4096

/** Nodes after which others have a turn: where all are cached no read waits, and a node takes some microseconds. */
const NODES_PER_TURN = 64

export interface ContentRequest {
  readonly tree: Tree
  /** Chunks from here on are left out. */
  readonly before: number
  readonly limit: number
  /** Told of each damaged node; the chunks below it are passed over. */
  readonly onDamaged: (error: VarveError) => Promise<unknown>
}

/** Positions in descending order; `next` is where to go on, null where there are no more. */
export interface Content {
  readonly positions: readonly number[]
  readonly next: number | null
}

/** The last chunks below `before` that are not zero. */
export const lastContent = async (
  read: ReadNodes,
  { tree, before, limit, onDamaged }: ContentRequest,
): Promise<Content> => {
  const positions: number[] = []
  let reads = 0
  let next: number | null = null
  /** Goes through a subtree from its end on; false once there is enough, with `next` set. */
  const walk = async (ref: Ref, level: number, first: number): Promise<boolean> => {
    if (ref === null || first >= before) return true
    if (positions.length === limit || reads === CONTENT_NODES_MAX) {
      next = Math.min(before, first + childSpan(level + 1))
      return false
    }
    if (level < 0) {
      positions.push(first)
      return true
    }
    reads += 1
    if (reads % NODES_PER_TURN === 0) await setImmediate()
    const [node] = await read([ref], level)
    if (node instanceof VarveError || node === undefined) {
      await onDamaged(asVarveError(node))
      return true
    }
    for (let child = FAN_OUT - 1; child >= 0; child -= 1)
      if (!(await walk(node.child(child), level - 1, first + child * childSpan(level)))) return false
    return true
  }
  await walk(tree.root, tree.level, 0)
  return { positions, next }
}
