// A fixed number of threads that share one bounded queue of calls.
import type { VarveError } from '../errors.ts'
import { WorkThread, type Call, type Methods, type ThreadOptions } from './threads.ts'

export interface PoolOptions extends ThreadOptions {
  readonly threads: number
  /** Calls that a thread has at once: one more than it works on keeps it from waiting for the next. */
  readonly perThread: number
  /** Calls that may wait for a thread; past that the caller is refused, so memory stays bounded. */
  readonly waitingMax: number
  readonly full: () => VarveError
  /** What waits when the pool is closed, and comes later, fails with this. */
  readonly closed: () => VarveError
}

interface Task<M extends Methods> {
  readonly start: (thread: WorkThread<M>) => Promise<void>
  readonly reject: (error: VarveError) => void
}

export class WorkPool<M extends Methods> implements AsyncDisposable {
  readonly #file: URL
  readonly #options: PoolOptions
  readonly #threads: WorkThread<M>[] = []
  readonly #waiting: Task<M>[] = []
  #closed: VarveError | null = null

  /** Threads begin with the calls that need them, and are replaced where they ended. */
  constructor(file: URL, options: PoolOptions) {
    this.#file = file
    this.#options = options
  }

  /**
   * Calls a method on whichever thread is free first. What the method throws, `full`, `closed`, and `ended` where the thread
   * ends.
   */
  readonly call: Call<M> = (name, args, buffers) => {
    if (this.#closed !== null) return Promise.reject(this.#closed)
    if (this.#waiting.length >= this.#options.waitingMax) return Promise.reject(this.#options.full())
    return new Promise((resolve, reject) => {
      const start = (thread: WorkThread<M>): Promise<void> => thread.call(name, args, buffers).then(resolve, reject)
      this.#waiting.push({ start, reject })
      this.#dispatch()
    })
  }

  /**
   * Ends the threads, each after the calls that it has: ending one in the middle of a decompression can take the whole process
   * with it.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#close()
    await Promise.all(this.#threads.map((thread) => thread.end()))
  }

  /** The same, where nobody wants the answers of what is under way either. */
  async cancel(): Promise<void> {
    const error = this.#close()
    for (const thread of this.#threads) thread.fail(error)
    await this[Symbol.asyncDispose]()
  }

  #close(): VarveError {
    this.#closed ??= this.#options.closed()
    for (const { reject } of this.#waiting.splice(0)) reject(this.#closed)
    return this.#closed
  }

  #dispatch(): void {
    while (this.#waiting.length > 0) {
      const thread = this.#freeThread()
      if (thread === null) return
      void this.#waiting
        .shift()!
        .start(thread)
        .finally(() => this.#dispatch())
    }
  }

  #freeThread(): WorkThread<M> | null {
    const { threads, perThread } = this.#options
    const living = this.#threads.filter(({ ended }) => !ended)
    let least: WorkThread<M> | null = null
    for (const thread of living) if (thread.waiting < (least?.waiting ?? perThread)) least = thread
    return (least?.waiting ?? perThread) > 0 && living.length < threads ? this.#start() : least
  }

  #start(): WorkThread<M> {
    const thread = new WorkThread<M>(this.#file, this.#options)
    this.#threads.push(thread)
    void this.#forget(thread)
    return thread
  }

  /** Once a thread has ended, the next call begins another. */
  async #forget(thread: WorkThread<M>): Promise<void> {
    await thread.exited
    this.#threads.splice(this.#threads.indexOf(thread), 1)
    this.#dispatch()
  }
}
