// One thread that runs operations of the database, one after the other: calls to it and its answers.
import type { AuditRecord } from '../audit.ts'
import { Worker, type ResourceLimits } from 'node:worker_threads'
import { asVarveError, isErrorCode, VarveError, type ErrorDetails } from '../../../protocol/errors.ts'
import type { OperationArgs, OperationName, OperationResult } from './operations.ts'

/** Calls that may wait at once; past that the caller is refused, so memory stays bounded. */
const CALLS_MAX = 100_000

interface Answer {
  readonly id: number
  readonly result?: unknown
  readonly error?: { readonly code: string; readonly message: string; readonly details: ErrorDetails }
}

/** What a thread is told when it begins. */
export interface ThreadSetup {
  readonly path: string
  /** It serves the operations that run aside, on a connection that only reads. */
  readonly aside: boolean
}

export class DatabaseThread implements AsyncDisposable {
  readonly #worker: Worker
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: VarveError) => void }>()
  readonly #onDamaged: () => void
  #nextId = 1
  #failure: VarveError | null = null

  /** `onDamaged` is told when SQLite finds a damaged page. */
  constructor(setup: ThreadSetup, onDamaged: () => void, resourceLimits?: ResourceLimits) {
    this.#onDamaged = onDamaged
    this.#worker = new Worker(new URL('database-worker.ts', import.meta.url), {
      workerData: setup,
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    })
    this.#worker.on('message', (answer: Answer) => this.#settle(answer))
    this.#worker.on('error', (error) => this.#fail(asVarveError(error, 'STORE_FAILED')))
    this.#worker.on('exit', () => this.#fail(new VarveError('STORE_FAILED', 'the database is closed')))
  }

  /** True once the thread has ended: no call is answered any more. */
  get ended(): boolean {
    return this.#failure !== null
  }

  call<N extends OperationName>(name: N, args: OperationArgs<N>, entry?: AuditRecord): Promise<OperationResult<N>> {
    if (this.#failure !== null) return Promise.reject(this.#failure)
    if (this.#waiting.size >= CALLS_MAX)
      return Promise.reject(new VarveError('TOO_MANY_REQUESTS', 'the database has too many calls waiting'))
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.#worker.postMessage({ id, name, args, entry })
    })
  }

  /** Answers what was given before, then closes its connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    const exited = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()))
    if (this.#failure !== null) return
    this.#worker.postMessage(null)
    await exited
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id)
    if (waiting === undefined) return
    this.#waiting.delete(answer.id)
    const { error } = answer
    if (error === undefined) return waiting.resolve(answer.result)
    const code = isErrorCode(error.code) ? error.code : 'STORE_FAILED'
    if (code === 'CATALOG_DAMAGED') this.#onDamaged()
    waiting.reject(new VarveError(code, error.message, { details: error.details }))
  }

  #fail(error: VarveError): void {
    this.#failure ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }
}
