// The record threads: a fixed number of workers that share one bounded queue of jobs.
import { availableParallelism } from 'node:os'
import { VarveError } from '../../protocol/errors.ts'
import { WorkPool } from '../../protocol/host/work-pool.ts'
import { ownIfDamage } from './damage.ts'
import type { CheckJob, IngestJob, PickedParts, PlainJob, ProveJob, Repacked } from './record-work.ts'
import type { RecordMethods } from './record-worker.ts'

/** Most threads of a pool, however many cores there are. */
const THREADS_MAX = 8

/** Jobs that may wait for a thread; past that the caller is refused, so memory stays bounded. */
const JOBS_WAITING_MAX = 1024

/**
 * By how much the threads of a pool give way to those of the event loop and the database, as a nice value: those of uploads a
 * little, those of upkeep to everything else, as nobody waits for it.
 */
export const NICENESS = { uploads: 5, upkeep: 19 } as const

/**
 * Limits of a thread's JavaScript heap, which holds little: without them its garbage grows to many times that before a
 * collection.
 */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 64 } as const

/** Takes the buffers that it is given: they are moved to a thread and are empty afterwards. */
export class RecordPool implements AsyncDisposable {
  readonly #pool: WorkPool<RecordMethods>

  constructor(threads = availableParallelism(), niceness: number = NICENESS.uploads) {
    this.#pool = new WorkPool(new URL('record-worker.ts', import.meta.url), {
      data: niceness,
      threads: Math.min(Math.max(threads, 1), THREADS_MAX),
      perThread: 1,
      waitingMax: JOBS_WAITING_MAX,
      heap: HEAP_LIMITS,
      full: () => new VarveError('TOO_MANY_REQUESTS', 'too many chunks are waiting to be checked'),
      closed: () => new VarveError('STORE_FAILED', 'the datastore is closed'),
      ended: () => new VarveError('STORE_FAILED', 'a record thread ended'),
      onError: ownIfDamage,
    })
  }

  /** Checks received chunks and gives their bundles as records, one behind the other; CHUNK_INVALID names the first bad one. */
  ingest(job: IngestJob & { readonly stored: Uint8Array<ArrayBuffer> }): Promise<Uint8Array<ArrayBuffer>> {
    return this.#pool.call('ingest', [job], [job.stored.buffer])
  }

  /**
   * Stores parts of records anew, each record in a buffer of its own. DATA_DAMAGED names the first chunk of a record that cannot
   * be unpacked.
   */
  repack(job: {
    readonly records: readonly (PickedParts & { readonly record: Uint8Array<ArrayBuffer> })[]
  }): Promise<Repacked> {
    return this.#pool.call(
      'repack',
      [job],
      job.records.map(({ record }) => record.buffer),
    )
  }

  /** Keyed BLAKE3 of each chunk's plain bytes, or null where its record is damaged. */
  prove(job: ProveJob): Promise<(Uint8Array | null)[]> {
    return this.#pool.call('prove', [job], [job.buffer])
  }

  /** What is wrong with each chunk's record, or null where it is what the index says. */
  check(job: CheckJob): Promise<(string | null)[]> {
    return this.#pool.call('check', [job], [job.buffer])
  }

  /** Plain bytes of one chunk, checked; DATA_DAMAGED names the id. */
  plain(job: PlainJob): Promise<Uint8Array<ArrayBuffer>> {
    return this.#pool.call('plain', [job], [job.buffer])
  }

  /** Ends the threads; waiting jobs are rejected, running ones end first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]()
  }
}
