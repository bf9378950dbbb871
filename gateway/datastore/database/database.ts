// The database as the gateway sees it: asynchronous calls to operations that run on a thread of their own.
import { Worker } from 'node:worker_threads'
import { asVarveError, isErrorCode, VarveError, type ErrorDetails } from '../../../protocol/errors.ts'
import { runKept, type OperationArgs, type OperationName, type OperationResult } from './operations.ts'
import { EpochKeeper } from '../epoch.ts'
import { storeError } from '../store-error.ts'
import { Sql } from './sql.ts'

/** Calls that may wait at once; past that the caller is refused, so memory stays bounded. */
const CALLS_MAX = 100_000

/** One method, so that code that needs the database takes this and no more. */
export interface Database {
  call<N extends OperationName>(name: N, args: OperationArgs<N>): Promise<OperationResult<N>>
}

interface Answer {
  readonly id: number
  readonly result?: unknown
  readonly error?: { readonly code: string; readonly message: string; readonly details: ErrorDetails }
}

/** The database on its own thread, for a running gateway. */
export class ThreadDatabase implements Database, AsyncDisposable {
  readonly #worker: Worker
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: VarveError) => void }>()
  #nextId = 1
  #failure: VarveError | null = null
  /** True once SQLite found a damaged page. */
  damaged = false

  private constructor(worker: Worker) {
    this.#worker = worker
    worker.on('message', (answer: Answer) => this.#settle(answer))
    worker.on('error', (error) => this.#fail(asVarveError(error, 'STORE_FAILED')))
    worker.on('exit', () => this.#fail(new VarveError('STORE_FAILED', 'the database is closed')))
  }

  static async open(path: string): Promise<ThreadDatabase> {
    const database = new ThreadDatabase(
      new Worker(new URL('database-worker.ts', import.meta.url), { workerData: { path } }),
    )
    try {
      await database.call('setting.get', { name: 'format' })
    } catch (error) {
      await database[Symbol.asyncDispose]()
      throw error
    }
    return database
  }

  call<N extends OperationName>(name: N, args: OperationArgs<N>): Promise<OperationResult<N>> {
    if (this.#failure !== null) return Promise.reject(this.#failure)
    if (this.#waiting.size >= CALLS_MAX)
      return Promise.reject(new VarveError('TOO_MANY_REQUESTS', 'the database has too many calls waiting'))
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.#worker.postMessage({ id, name, args })
    })
  }

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
    if (code === 'CATALOG_DAMAGED') this.damaged = true
    waiting.reject(new VarveError(code, error.message, { details: error.details }))
  }

  #fail(error: VarveError): void {
    this.#failure ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }
}

/** The database in the caller's own thread, for short commands beside a running or stopped gateway. */
export class LocalDatabase implements Database, Disposable {
  readonly #sql: Sql
  readonly #epoch: EpochKeeper

  constructor(path: string) {
    this.#sql = Sql.open(path)
    this.#epoch = new EpochKeeper(path)
  }

  // async turns a throw of the operation into a rejection, as on the thread
  async call<N extends OperationName>(name: N, args: OperationArgs<N>): Promise<OperationResult<N>> {
    try {
      return runKept({ sql: this.#sql, epoch: this.#epoch }, name, args)
    } catch (thrown) {
      throw storeError(thrown, 'using the database')
    }
  }

  [Symbol.dispose](): void {
    this.#sql[Symbol.dispose]()
  }
}
