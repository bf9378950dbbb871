// What disks hold in the model: a number for each chunk, from which its bytes follow; 0 is a chunk of zeroes.
import { chunkLength } from '../../protocol/chunk.ts'

/** Chunk size of the model's tenants, in bytes: the smallest. */
export const CHUNK_BYTES = 4096

export interface DiskContent {
  readonly name: string
  /** In bytes; the last chunk may be short. */
  readonly size: number
  /** A number for each chunk. */
  readonly chunks: readonly number[]
}

/** The bytes of a whole chunk: about half of each odd one compresses. */
const wholeChunk = (content: number): Uint8Array<ArrayBuffer> => {
  const words = new Uint32Array(CHUNK_BYTES / 4)
  if (content === 0) return new Uint8Array(words.buffer)
  let state = Math.imul(content, 0x9e37_79b1) ^ 0x5bd1_e995 || 1
  const random = content % 2 === 1 ? words.length / 2 : words.length
  for (let index = 0; index < random; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[index] = state
  }
  words.fill(content, random)
  return new Uint8Array(words.buffer)
}

/** The bytes of one chunk of a disk. */
export const chunkAt = ({ size, chunks }: DiskContent, index: number): Uint8Array<ArrayBuffer> =>
  wholeChunk(chunks[index]!).slice(0, chunkLength(index, size, CHUNK_BYTES))
