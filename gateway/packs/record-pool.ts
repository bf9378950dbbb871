// The record threads: a fixed number of workers that share one bounded queue of jobs.
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { errorOfThread, type ThreadError } from '../common/thread-error.ts'
import type { CheckJob, IngestJob, PlainJob, ProveJob } from './record-work.ts'
import type { RecordJob } from './record-worker.ts'

/** Most threads of a pool, however many cores there are. */
const THREADS_MAX = 8

/** Jobs that may wait for a thread; past that the caller is refused, so memory stays bounded. */
const JOBS_WAITING_MAX = 1024

/** Of a thread's JavaScript heap, which holds little: without limits its garbage grows to many times that before it is looked for. */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 64 } as const

interface Answer {
  readonly result?: unknown
  readonly error?: ThreadError
}

interface Task {
  readonly job: RecordJob
  readonly transfer: readonly ArrayBuffer[]
  readonly resolve: (value: unknown) => void
  readonly reject: (error: VarveError) => void
}

interface Thread {
  readonly worker: Worker
  task: Task | null
}

/** Takes the buffers that it is given: they are moved to a thread and are empty afterwards. */
export class RecordPool implements AsyncDisposable {
  readonly #threadsMax: number
  readonly #threads = new Set<Thread>()
  readonly #waiting: Task[] = []
  #closed = false

  constructor(threads = availableParallelism()) {
    this.#threadsMax = Math.min(Math.max(threads, 1), THREADS_MAX)
  }

  /** Checks received chunks and gives them as records, one behind the other; CHUNK_INVALID names the first bad one. */
  ingest(job: IngestJob & { readonly stored: Uint8Array<ArrayBuffer> }): Promise<Uint8Array<ArrayBuffer>> {
    return this.#run({ kind: 'ingest', job }, [job.stored.buffer])
  }

  /** Keyed BLAKE3 of each record's plain bytes, or null where the record is damaged. */
  prove(job: ProveJob): Promise<(Uint8Array | null)[]> {
    return this.#run({ kind: 'prove', job }, [job.buffer])
  }

  /** What is wrong with each record, or null where it is what the index says. */
  check(job: CheckJob): Promise<(string | null)[]> {
    return this.#run({ kind: 'check', job }, [job.buffer])
  }

  /** Plain bytes of one record, checked; DATA_DAMAGED names the id. */
  plain(job: PlainJob): Promise<Uint8Array<ArrayBuffer>> {
    return this.#run({ kind: 'plain', job }, [job.buffer])
  }

  /** Ends the threads; what is still waiting is rejected, what is under way ends first. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    const error = new VarveError('STORE_FAILED', 'the datastore is closing')
    for (const task of this.#waiting.splice(0)) task.reject(error)
    // each ends after the job it has: ending one in the middle of a decompression can take the whole process with it
    await Promise.all(
      [...this.#threads].map(async ({ worker }) => {
        const { promise, resolve } = Promise.withResolvers<void>()
        worker.once('exit', () => resolve())
        worker.postMessage(null)
        await promise
      }),
    )
  }

  #run<R>(job: RecordJob, transfer: readonly ArrayBuffer[]): Promise<R> {
    if (this.#closed) return Promise.reject(new VarveError('STORE_FAILED', 'the datastore is closed'))
    if (this.#waiting.length >= JOBS_WAITING_MAX)
      return Promise.reject(new VarveError('TOO_MANY_REQUESTS', 'too many chunks are waiting to be checked'))
    return new Promise<R>((resolve, reject) => {
      this.#waiting.push({ job, transfer, resolve: resolve as (value: unknown) => void, reject })
      this.#dispatch()
    })
  }

  #dispatch(): void {
    while (this.#waiting.length > 0) {
      const thread = this.#idleThread()
      if (thread === null) return
      const task = this.#waiting.shift()!
      try {
        thread.worker.postMessage(task.job, [...task.transfer])
        thread.task = task
      } catch (error) {
        // a buffer that cannot be moved (already moved, or shared) is the caller's mistake
        task.reject(asVarveError(error))
      }
    }
  }

  #idleThread(): Thread | null {
    for (const thread of this.#threads) if (thread.task === null) return thread
    return this.#threads.size < this.#threadsMax ? this.#start() : null
  }

  #start(): Thread {
    const worker = new Worker(new URL('record-worker.ts', import.meta.url), { resourceLimits: HEAP_LIMITS })
    const thread: Thread = { worker, task: null }
    this.#threads.add(thread)
    thread.worker.on('message', (answer: Answer) => {
      const { task } = thread
      thread.task = null
      if (task !== null) settle(task, answer)
      this.#dispatch()
    })
    const lost = (error: VarveError): void => {
      thread.task?.reject(error)
      thread.task = null
      // a thread that ended is replaced by the next job that needs one
      if (this.#threads.delete(thread) && !this.#closed) this.#dispatch()
    }
    thread.worker.on('error', (error) => lost(asVarveError(error, 'STORE_FAILED')))
    thread.worker.on('exit', () => lost(new VarveError('STORE_FAILED', 'a record thread ended')))
    return thread
  }
}

const settle = (task: Task, { result, error }: Answer): void => {
  if (error === undefined) return task.resolve(result)
  task.reject(errorOfThread(error))
}
