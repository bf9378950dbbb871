// The worker threads of one upload: segments go to the least busy one and stay with it until they are dropped.
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { asVarveError, isErrorCode, VarveError } from '../../protocol/errors.ts'
import type { Order, Report, WorkerSetup } from './messages.ts'
import type { ChunkRun } from './segments.ts'

/** Threads of one upload at most; each holds an NBD connection, of which QEMU allows 100. */
const WORKERS_MAX = 8

/** Of a thread's JavaScript heap, which holds little: without limits its garbage grows to many times that before it is looked for. */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 } as const

export type Hashed = Extract<Report, { type: 'hashed' }>
type Prepared = Extract<Report, { type: 'prepared' }>

interface Thread {
  readonly worker: Worker
  busy: number
}

interface Waiting {
  readonly resolve: (report: Hashed & Prepared) => void
  readonly reject: (error: VarveError) => void
}

export class ImageWorkers implements AsyncDisposable {
  readonly #threads: Thread[]
  readonly #owners = new Map<number, Thread>()
  /** The one answer each segment waits for. */
  readonly #waiting = new Map<number, Waiting>()
  #failure: VarveError | null = null
  #closing = false

  constructor(setup: WorkerSetup, options: { readonly multiConn: boolean }) {
    const count = options.multiConn ? Math.min(WORKERS_MAX, Math.max(1, availableParallelism())) : 1
    this.#threads = Array.from({ length: count }, () => {
      const worker = new Worker(new URL('worker.ts', import.meta.url), {
        workerData: setup,
        resourceLimits: HEAP_LIMITS,
      })
      worker.on('message', (report: Report) => this.#onReport(report))
      worker.on('error', (error) => this.#fail(asVarveError(error)))
      worker.on('exit', () => this.#fail(new VarveError('INTERNAL', 'a worker thread ended')))
      return { worker, busy: 0 }
    })
  }

  /** How many work at once. */
  get count(): number {
    return this.#threads.length
  }

  /** Reads and hashes a segment, whose bytes are held until `drop` where `hold` says so. NBD_ERROR, NBD_PROTOCOL. */
  read(segment: number, runs: readonly ChunkRun[], hold: boolean): Promise<Hashed> {
    const thread = this.#threads.reduce((least, next) => (next.busy < least.busy ? next : least))
    thread.busy++
    this.#owners.set(segment, thread)
    return this.#ask({ type: 'read', segment, runs, hold })
  }

  /** Compresses and proves chunks of a segment; what is not held is read again. */
  prepare(segment: number, picks: Uint8Array, proofKey: Uint8Array): Promise<Prepared> {
    return this.#ask({ type: 'prepare', segment, picks, proofKey })
  }

  drop(segment: number): void {
    const thread = this.#owners.get(segment)
    if (thread === undefined) return
    this.#owners.delete(segment)
    thread.busy--
    this.#post(thread, { type: 'drop', segment })
  }

  /** Ends the threads; what still waits fails with CANCELLED. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true
    this.#fail(new VarveError('CANCELLED', 'the upload ended'))
    await Promise.all(
      this.#threads.map(async ({ worker }) => {
        const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
        if (worker.threadId === -1) return
        worker.postMessage({ type: 'close' } satisfies Order)
        const timer = setTimeout(() => void worker.terminate(), CLOSE_TIMEOUT_MS)
        await exited
        clearTimeout(timer)
      }),
    )
  }

  #ask(order: Extract<Order, { segment: number }>): Promise<Hashed & Prepared> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure)
      this.#waiting.set(order.segment, { resolve, reject })
      this.#post(this.#owners.get(order.segment)!, order)
    })
  }

  #post(thread: Thread, order: Order): void {
    if (!this.#closing) thread.worker.postMessage(order)
  }

  #onReport(report: Report): void {
    if (report.type === 'failed') {
      const { code, message, details } = report.error
      return this.#fail(new VarveError(isErrorCode(code) ? code : 'INTERNAL', message, { details }))
    }
    const waiting = this.#waiting.get(report.segment)
    this.#waiting.delete(report.segment)
    waiting?.resolve(report as Hashed & Prepared)
  }

  #fail(error: VarveError): void {
    this.#failure ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure)
    this.#waiting.clear()
  }
}

/** How long a thread may take to close its connection, in milliseconds. */
const CLOSE_TIMEOUT_MS = 5000
