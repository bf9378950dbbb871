// An image that is served over NBD as the ids of its chunks: threads read and hash it, and what its map calls zero is not read.
import type { DiskExtent } from '../nbd/extents.ts'
import type { ImageThreads } from './image-threads.ts'
import type { Hashed, WorkerSetup } from './messages.ts'
import { chunkRuns, segments, type ChunkRun, type Segment } from './segments.ts'
import { ImageWorkers } from './workers.ts'

/** What is read of an image that is there. */
export interface HashedImage {
  /** Map of the whole disk: `keep` is said to be as it is wanted. */
  readonly extents: AsyncIterable<DiskExtent>
  /** Ids of the chunks that these runs want read. */
  readonly hash: (runs: readonly ChunkRun[]) => Promise<Pick<Hashed, 'ids' | 'zero'>>
  /** Segments that are hashed at once, of SEGMENT_READ_BYTES each. */
  readonly ahead: number
}

/** A segment with the ids of what it reads; null where it reads nothing. */
export interface HashedSegment {
  readonly segment: Segment
  readonly hashed: Pick<Hashed, 'ids' | 'zero'> | null
}

/** All segments in their order, some of which are hashed ahead; nothing is under way any more when it ends. */
export async function* hashedSegments(
  { extents, hash, ahead: aheadMax }: HashedImage,
  chunkBytes: number,
): AsyncGenerator<HashedSegment> {
  const ahead: { readonly segment: Segment; readonly hashed: ReturnType<HashedImage['hash']> | null }[] = []
  const first = async (): Promise<HashedSegment> => {
    const { segment, hashed } = ahead.shift()!
    return { segment, hashed: hashed === null ? null : await hashed }
  }
  try {
    for await (const segment of segments(chunkRuns(extents, chunkBytes), { from: 0, chunkBytes })) {
      const hashed = segment.reads === 0 ? null : hash(segment.runs)
      // a failure is thrown when its turn comes
      hashed?.catch(() => {})
      ahead.push({ segment, hashed })
      if (ahead.length >= aheadMax) yield await first()
    }
    while (ahead.length > 0) yield await first()
  } finally {
    await Promise.allSettled(ahead.map(({ hashed }) => hashed))
  }
}

/** Threads that hash one image, which are let go when it is disposed. */
export class ChunkHashes implements AsyncDisposable {
  readonly #workers: ImageWorkers
  #next = 0

  constructor(setup: WorkerSetup, threads: ImageThreads) {
    this.#workers = new ImageWorkers(setup, { multiConn: true, threads })
  }

  get ahead(): number {
    return 2 * this.#workers.count + 2
  }

  /** NBD_ERROR, NBD_PROTOCOL. */
  readonly hash: HashedImage['hash'] = async (runs) => {
    const segment = this.#next++
    try {
      return await this.#workers.read(segment, runs, false)
    } finally {
      this.#workers.drop(segment)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#workers[Symbol.asyncDispose]()
  }
}
