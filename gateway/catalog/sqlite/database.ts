// The database as the gateway sees it: asynchronous calls to operations that run on threads of their own.
import type { ResourceLimits } from 'node:worker_threads'
import { DatabaseThread } from './database-thread.ts'
import { runKept, runsAside, type OperationArgs, type OperationName, type OperationResult } from './operations.ts'
import { EpochKeeper } from './epoch.ts'
import { storeError } from '../../common/store-error.ts'
import { Sql } from './sql.ts'

/** One method, so that code that needs the database takes this and no more. */
export interface Database {
  call<N extends OperationName>(name: N, args: OperationArgs<N>): Promise<OperationResult<N>>
}

/** Of the thread for what runs aside: the largest answers are the accounts of whole tenants. */
const ASIDE_LIMITS: ResourceLimits = { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 256 }

/** The database on threads of its own, for a running gateway: one for backups and restores, one for what must not delay them. */
export class ThreadDatabase implements Database, AsyncDisposable {
  readonly #path: string
  readonly #asideLimits: ResourceLimits
  readonly #main: DatabaseThread
  /** Begins with the first call for it, and anew after it ended. */
  #aside: DatabaseThread | null = null
  #closed = false
  /** True once SQLite found a damaged page. */
  damaged = false

  private constructor(path: string, asideLimits: ResourceLimits) {
    this.#path = path
    this.#asideLimits = asideLimits
    this.#main = new DatabaseThread({ path, aside: false }, this.#onDamaged)
  }

  /** `asideLimits`: of the thread for what runs aside. */
  static async open(path: string, asideLimits: ResourceLimits = ASIDE_LIMITS): Promise<ThreadDatabase> {
    const database = new ThreadDatabase(path, asideLimits)
    try {
      await database.call('setting.get', { name: 'format' })
    } catch (error) {
      await database[Symbol.asyncDispose]()
      throw error
    }
    return database
  }

  call<N extends OperationName>(name: N, args: OperationArgs<N>): Promise<OperationResult<N>> {
    if (this.#closed || !runsAside(name)) return this.#main.call(name, args)
    if (this.#aside === null || this.#aside.ended)
      this.#aside = new DatabaseThread({ path: this.#path, aside: true }, this.#onDamaged, this.#asideLimits)
    return this.#aside.call(name, args)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    // the connection that closes last puts the log's pages into the catalog, which one that only reads cannot
    await this.#aside?.[Symbol.asyncDispose]()
    await this.#main[Symbol.asyncDispose]()
  }

  readonly #onDamaged = (): void => void (this.damaged = true)
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
