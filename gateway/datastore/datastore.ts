// The datastore of one gateway: packs, chunk index and catalog under one folder, opened, recovered and closed as one.
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { ThreadDatabase, type Database } from './database/database.ts'
import type { Tenant } from './database/tenants.ts'
import { DirectoryPackStore } from './directory-pack-store.ts'
import { makeFolder } from './folders.ts'
import { FORMAT_VERSION } from './format.ts'
import { ImageWriter } from './image-writer.ts'
import { Limiter } from './limiter.ts'
import type { DatastoreLog } from './log.ts'
import { NodeCache } from './node-cache.ts'
import { PackPool } from './pack-pool.ts'
import type { PackStore } from './pack-store.ts'
import { recover, type RecoveryReport } from './recovery.ts'
import { storeError } from './store-error.ts'
import { StoreLock } from './store-lock.ts'
import { checkCatalogVersion, checkFormat, FORMAT_SETTING } from './store-version.ts'
import { TenantStore } from './tenant-store.ts'
import { VerifyPool } from './verify-pool.ts'

/** Name of the catalog and chunk index in the data folder; the command line opens it beside a running gateway. */
export const CATALOG_NAME = 'catalog.db'
const LOCK_NAME = 'lock.db'
const PACKS_NAME = 'packs'

/** Uploads (disks) that may be written at once: each holds two open files and bounded buffers. */
export const WRITERS_MAX = 512

/** Bytes of received chunks that are checked and appended at once, whoever sent them; further batches wait in order. */
const INGEST_BYTES_MAX = 16 * 1024 * 1024

/** Batches that may wait for that; one more is refused with TOO_MANY_REQUESTS. Uploads hold themselves to far fewer. */
const BATCHES_WAITING_MAX = 65_536

export interface DatastoreOptions {
  /** The data folder, made if needed. */
  readonly folder: string
  readonly log: DatastoreLog
  /** Threads that check chunks; by default as many as there are cores. */
  readonly threads?: number
  readonly nowMs?: () => number
}

interface Parts {
  readonly log: DatastoreLog
  readonly database: ThreadDatabase
  readonly store: PackStore
  readonly packs: PackPool
  readonly verifyPool: VerifyPool
  readonly report: RecoveryReport
  /** Ends what was opened, in reverse order. */
  readonly resources: AsyncDisposableStack
}

export class Datastore implements AsyncDisposable {
  readonly database: Database
  /** What the start found and did. */
  readonly report: RecoveryReport
  readonly #parts: Parts
  readonly #nodeCache = new NodeCache()
  readonly #limiter = new Limiter({ weightMax: INGEST_BYTES_MAX, waitingMax: BATCHES_WAITING_MAX })
  readonly #writers = new Set<ImageWriter>()
  readonly #tenants = new Map<number, TenantStore>()
  #closed: Promise<void> | null = null

  private constructor(parts: Parts) {
    this.#parts = parts
    this.database = parts.database
    this.report = parts.report
  }

  /**
   * Opens or makes the datastore of a folder and recovers it from whatever ended its last run.
   * STORE_LOCKED when another gateway has it; STORE_VERSION, with nothing touched, when a later program wrote it; STORE_FULL, STORE_FAILED.
   */
  static async open(options: DatastoreOptions): Promise<Datastore> {
    const { folder, log, nowMs = Date.now } = options
    await using resources = new AsyncDisposableStack()
    const catalog = path.join(folder, CATALOG_NAME)
    try {
      await makeFolder(folder, { recursive: true })
      checkCatalogVersion(catalog)
    } catch (error) {
      throw storeError(error, 'opening the data folder')
    }
    resources.use(new StoreLock(path.join(folder, LOCK_NAME)))
    const database = resources.use(await ThreadDatabase.open(catalog))
    checkFormat(await database.call('setting.init', { name: FORMAT_SETTING, value: String(FORMAT_VERSION) }))
    const store = resources.use(await DirectoryPackStore.open(path.join(folder, PACKS_NAME)))
    const packs = new PackPool({ store, database, log, nowMs })
    const report = await recover({ store, database, packs, log })
    const verifyPool = resources.use(new VerifyPool(options.threads))
    return new Datastore({ log, database, store, packs, verifyPool, report, resources: resources.move() })
  }

  /** The datastore as this tenant has it. */
  tenantStore(tenant: Tenant): TenantStore {
    const known = this.#tenants.get(tenant.id)
    if (known !== undefined) return known
    const { database, store, packs, verifyPool, log } = this.#parts
    const tenantStore = new TenantStore({
      tenant,
      database,
      store,
      packs,
      verifyPool,
      nodeCache: this.#nodeCache,
      log,
      openWriter: async (options) => this.#openWriter(options),
    })
    // one per tenant of the catalog
    this.#tenants.set(tenant.id, tenantStore)
    return tenantStore
  }

  /** Closes the writers, keeping what they checked, then everything else; the lock goes last. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  #openWriter(options: { tenant: Tenant; job: string; disk: string; machineId: number }): ImageWriter {
    if (this.#closed !== null) throw new VarveError('STORE_FAILED', 'the datastore is closed')
    if (this.#writers.size >= WRITERS_MAX)
      throw new VarveError('TOO_MANY_REQUESTS', `more than ${WRITERS_MAX} disks would be written at once`)
    const { database, packs, verifyPool, log } = this.#parts
    const onClose = (): void => void this.#writers.delete(writer)
    const writer = new ImageWriter({ ...options, database, packs, verifyPool, limiter: this.#limiter, log, onClose })
    this.#writers.add(writer)
    return writer
  }

  async #close(): Promise<void> {
    const { resources, log } = this.#parts
    const ended = await Promise.allSettled([...this.#writers].map(async (writer) => writer[Symbol.asyncDispose]()))
    for (const one of ended) if (one.status === 'rejected') log.warn({ err: one.reason }, 'a writer did not close')
    await resources.disposeAsync()
  }
}
