// The chunks that a batch of runs announces: their ids, their places and how long each must be. Pure.
import { chunkLength, equalBytes, ID_BYTES } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { RUN } from '../../protocol/methods.ts'
import type { Runs } from './backlog.ts'

/** A chunk that is said by its id; `length` is its plain length in bytes. */
export interface AnnouncedChunk {
  readonly id: Uint8Array
  readonly position: number
  readonly length: number
}

/** The disk that runs speak of; `size` is bytes, `zeroId` the id of a chunk of so many zeroes. */
export interface AnnouncedDisk {
  readonly chunks: number
  readonly size: number
  readonly chunkBytes: number
  readonly zeroId: (length: number) => Uint8Array
}

/**
 * The chunks named by runs that begin at chunk `from`, and the chunk behind the last run. UPLOAD_INVALID for runs beyond the end of the
 * disk, and for the id of a chunk of zeroes: content has one tree only where zeroes are said in one way.
 */
export const announcedIn = (
  runs: Runs,
  from: number,
  { chunks, size, chunkBytes, zeroId }: AnnouncedDisk,
): { readonly announced: readonly AnnouncedChunk[]; readonly end: number } => {
  const announced: AnnouncedChunk[] = []
  let end = from
  for (const [kind, value] of runs) {
    const count = kind === RUN.ids ? value.length / ID_BYTES : value
    if (end + count > chunks) throw new VarveError('UPLOAD_INVALID', 'the runs go beyond the end of the disk')
    if (kind !== RUN.ids) {
      end += value
      continue
    }
    for (let at = 0; at < value.length; at += ID_BYTES) {
      const id = value.subarray(at, at + ID_BYTES)
      const position = end++
      const length = chunkLength(position, size, chunkBytes)
      if (equalBytes(id, zeroId(length)))
        throw new VarveError('UPLOAD_INVALID', `chunk ${position} has only zeroes and is said by an id, not as a zero`)
      announced.push({ id, position, length })
    }
  }
  return { announced, end }
}
