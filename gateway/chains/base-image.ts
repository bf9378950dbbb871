// The image that an upload continues: its subtrees by place, and whether it holds a chunk at the same place.
import { chunkCount } from '../../protocol/chunk.ts'
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import { rootLevel, sameRef, type Ref } from '../../protocol/image-tree.ts'
import { childAt, type NodeSource } from '../trees/tree.ts'

/** The same disk at the same size in the restore point that the job's checkpoint continues. */
export class BaseImage {
  readonly #nodes: NodeSource
  readonly #root: Ref
  readonly #level: number
  readonly #onDamaged: (error: VarveError) => Promise<void>

  constructor(options: {
    nodes: NodeSource
    root: Ref
    size: number
    chunkBytes: number
    /** Called for an unreadable node, so that the upload brings it again. */
    onDamaged: (error: VarveError) => Promise<void>
  }) {
    this.#onDamaged = options.onDamaged
    this.#nodes = options.nodes
    this.#root = options.root
    this.#level = rootLevel(chunkCount(options.size, options.chunkBytes))
  }

  /** What a node of `level` holds for the subtree at chunk `position`; DATA_DAMAGED. */
  childAt(level: number, position: number): Promise<Ref> {
    return childAt(this.#nodes, this.#root, this.#level, level, position)
  }

  /** Whether the chunk at `position` is this one; false for a place that cannot be read. */
  async holds(id: Uint8Array, position: number): Promise<boolean> {
    try {
      return sameRef(await this.childAt(0, position), id)
    } catch (thrown) {
      // a damaged base must not keep a full read from replacing it
      const error = asVarveError(thrown)
      if (error.code !== 'DATA_DAMAGED') throw thrown
      await this.#onDamaged(error)
      return false
    }
  }
}
