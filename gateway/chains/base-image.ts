// The image that an upload continues: its subtrees by place, and whether it holds a chunk at the same place.
import { chunkCount } from '../../protocol/chunk.ts'
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import { rootLevel, sameRef, type Ref } from '../../protocol/image-tree.ts'
import type { ReadNodes } from '../trees/node-reader.ts'
import { childrenAt, type Tree } from '../trees/places.ts'

/** The same disk at the same size in the restore point that the job's checkpoint continues. */
export class BaseImage {
  readonly #read: ReadNodes
  readonly #tree: Tree
  readonly #onDamaged: (error: VarveError) => Promise<void>

  constructor(options: {
    read: ReadNodes
    root: Ref
    size: number
    chunkBytes: number
    /** Called for an unreadable node, so that the upload brings it again. */
    onDamaged: (error: VarveError) => Promise<void>
  }) {
    this.#onDamaged = options.onDamaged
    this.#read = options.read
    this.#tree = { root: options.root, level: rootLevel(chunkCount(options.size, options.chunkBytes)) }
  }

  /** What a node of `level` holds for the subtrees from chunk `position` on: at least one, at most `count`; DATA_DAMAGED. */
  childrenAt(level: number, position: number, count: number): Promise<readonly Ref[]> {
    return childrenAt(this.#read, this.#tree, level, position, count)
  }

  /** Whether the chunk at `position` is this one; false for a place that cannot be read. */
  async holds(id: Uint8Array, position: number): Promise<boolean> {
    try {
      const [ref] = await this.childrenAt(0, position, 1)
      return sameRef(ref!, id)
    } catch (thrown) {
      // a damaged base must not keep a full read from replacing it
      const error = asVarveError(thrown)
      if (error.code !== 'DATA_DAMAGED') throw thrown
      await this.#onDamaged(error)
      return false
    }
  }
}
