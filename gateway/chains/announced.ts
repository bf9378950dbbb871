// The chunks that a batch of runs announces: their ids, their places and how long each must be. Pure.
import { chunkCount, chunkLength, equalBytes, ID_BYTES } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { runsOf, type RunBatch } from './backlog.ts'

/** A chunk that is said by its id; `length` is its plain length in bytes. */
export interface AnnouncedChunk {
  readonly id: Uint8Array
  readonly position: number
  readonly length: number
}

/** The disk that runs are about; `size` is bytes, `zeroId` the id of a chunk of so many zeroes. */
export interface AnnouncedDisk {
  readonly size: number
  readonly chunkBytes: number
  readonly zeroId: (length: number) => Uint8Array
}

/**
 * The chunks named by a batch of runs that begin at chunk `from`, and the chunk behind the last run. UPLOAD_INVALID for runs
 * beyond the end of the disk, and for the id of a chunk of zeroes: content has one tree only where zeroes are said in one way.
 */
export const announcedIn = (
  batch: RunBatch,
  from: number,
  { size, chunkBytes, zeroId }: AnnouncedDisk,
): { readonly announced: readonly AnnouncedChunk[]; readonly end: number } => {
  const announced: AnnouncedChunk[] = []
  let end = from
  for (const { count, ids } of runsOf(batch)) {
    if (end + count > chunkCount(size, chunkBytes))
      throw new VarveError('UPLOAD_INVALID', 'the runs go beyond the end of the disk')
    for (let index = 0; ids !== null && index < count; index++) {
      const id = ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)
      const position = end + index
      const length = chunkLength(position, size, chunkBytes)
      if (equalBytes(id, zeroId(length)))
        throw new VarveError('UPLOAD_INVALID', `chunk ${position} has only zeroes and is said by an id, not as a zero`)
      announced.push({ id, position, length })
    }
    end += count
  }
  return { announced, end }
}
