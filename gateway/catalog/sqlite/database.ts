// The catalog in SQLite: its methods as operations that run on threads of their own, or in the caller's.
import type { AuditRecord } from '../audit-record.ts'
import type { ResourceLimits } from 'node:worker_threads'
import type { Catalog } from '../catalog.ts'
import { storeError } from '../../common/store-error.ts'
import { DatabaseThread } from './database-thread.ts'
import { EpochKeeper } from './epoch.ts'
import {
  OPERATION_NAMES,
  runKept,
  runOperation,
  runsAside,
  type OperationArgs,
  type OperationName,
  type OperationResult,
} from './operations.ts'
import { Sql } from './sql.ts'

type Call = <N extends OperationName>(
  name: N,
  args: OperationArgs<N>,
  entry?: AuditRecord,
) => Promise<OperationResult<N>>

/** The catalog whose methods are calls of the operations of the same name. */
const catalogOf = (call: Call): Catalog => {
  const subjects: Record<string, Record<string, unknown>> = {}
  for (const name of OPERATION_NAMES) {
    const [subject = '', method = ''] = name.split('.')
    const methods = (subjects[subject] ??= {})
    methods[method] = (args: OperationArgs<typeof name> = {}, entry?: AuditRecord) => call(name, args, entry)
  }
  return subjects as unknown as Catalog
}

/** Of the thread for what runs aside: the largest answers are the accounts of whole tenants. */
const ASIDE_LIMITS: ResourceLimits = { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 256 }

/** The database on two threads: one for backups and restores, one for reads that must not delay them. */
class Threads implements AsyncDisposable {
  readonly #path: string
  readonly #asideLimits: ResourceLimits
  readonly #main: DatabaseThread
  /** Started by the first call for it, and again after it ended. */
  #aside: DatabaseThread | null = null
  #closed = false
  damaged = false

  constructor(path: string, asideLimits: ResourceLimits) {
    this.#path = path
    this.#asideLimits = asideLimits
    this.#main = new DatabaseThread({ path, aside: false }, this.#onDamaged)
  }

  call<N extends OperationName>(name: N, args: OperationArgs<N>, entry?: AuditRecord): Promise<OperationResult<N>> {
    if (this.#closed || !runsAside(name)) return this.#main.call(name, args, entry)
    if (this.#aside === null || this.#aside.ended)
      this.#aside = new DatabaseThread({ path: this.#path, aside: true }, this.#onDamaged, this.#asideLimits)
    return this.#aside.call(name, args)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    // the last connection to close checkpoints the log, which a read-only one cannot
    await this.#aside?.[Symbol.asyncDispose]()
    await this.#main[Symbol.asyncDispose]()
  }

  readonly #onDamaged = (): void => void (this.damaged = true)
}

/** The catalog of a running gateway. */
export interface ThreadCatalog extends Catalog, AsyncDisposable {
  /** True once SQLite found a damaged page. */
  readonly damaged: boolean
}

/** Opens the catalog on threads of its own; `asideLimits` are those of the thread for what runs aside. */
export const openThread = async (path: string, asideLimits: ResourceLimits = ASIDE_LIMITS): Promise<ThreadCatalog> => {
  const threads = new Threads(path, asideLimits)
  const catalog: ThreadCatalog = {
    ...catalogOf((name, args, entry) => threads.call(name, args, entry)),
    get damaged() {
      return threads.damaged
    },
    [Symbol.asyncDispose]: () => threads[Symbol.asyncDispose](),
  }
  try {
    await catalog.settings.get({ name: 'format' })
  } catch (error) {
    await threads[Symbol.asyncDispose]()
    throw error
  }
  return catalog
}

/** The catalog in the caller's own thread, for work on a stopped gateway and for worker threads. */
export interface LocalCatalog extends Catalog, Disposable {}

/** The catalog over a connection that is open, without note beside the packs: for one that is being built. */
export const catalogOver = (sql: Sql): Catalog =>
  catalogOf(async (name, args, entry) => runOperation(sql, name, args, entry))

export const openLocal = (path: string): LocalCatalog => {
  const sql = Sql.open(path)
  const epoch = new EpochKeeper(path)
  return {
    // async turns an exception of the operation into a rejection, as on the thread
    ...catalogOf(async (name, args, entry) => {
      try {
        return runKept({ sql, epoch }, name, args, entry)
      } catch (thrown) {
        throw storeError(thrown, 'using the database')
      }
    }),
    [Symbol.dispose]: () => sql[Symbol.dispose](),
  }
}
