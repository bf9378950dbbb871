// Compares chunks that a machine says are unchanged with the image of the restore point before.
import { chunkCount, ID_BYTES } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { rootLevel, sameRef, type Ref } from '../../protocol/image-tree.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { NodeSource } from '../datastore/tree.ts'
import { chunksAt } from '../datastore/tree.ts'

const isZero = (id: Uint8Array): boolean => id.every((byte) => byte === 0)

/** The image that the chunks are compared with; `size` is bytes. */
export interface ComparedImage {
  readonly root: Ref
  readonly size: number
  readonly chunkBytes: number
}

/**
 * How many of the chunks could be compared, and where the image has something else. Chunks of an image with a damaged tree node
 * are not compared: `onDamaged` is told of it. PARAMS_INVALID for ids that do not fit the positions.
 */
export const compareChunks = async (
  nodes: NodeSource,
  { root, size, chunkBytes }: ComparedImage,
  { positions, ids }: Pick<Params<'image.compare'>, 'positions' | 'ids'>,
  onDamaged: (error: VarveError) => Promise<unknown>,
): Promise<Result<'image.compare'>> => {
  if (ids.length !== positions.length * ID_BYTES)
    throw new VarveError('PARAMS_INVALID', `there are ${ids.length} bytes of ids for ${positions.length} positions`)
  const chunks = chunkCount(size, chunkBytes)
  const outside = positions.find((position) => position >= chunks)
  if (outside !== undefined)
    throw new VarveError('PARAMS_INVALID', `chunk ${outside} is outside the disk, which has ${chunks}`)
  try {
    const refs = await chunksAt(nodes, root, rootLevel(chunks), positions)
    const different = positions.filter((_, index) => {
      const id = ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)
      return !sameRef(refs[index]!, isZero(id) ? null : id)
    })
    return { compared: positions.length, different }
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code !== 'DATA_DAMAGED') throw thrown
    await onDamaged(error)
    return { compared: 0, different: [] }
  }
}
