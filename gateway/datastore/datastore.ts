// The datastore of one gateway: packs, chunk index and catalog under one folder, opened, recovered and closed as one.
import type { Tenant } from '../catalog/tenants.ts'
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { openThread, type ThreadCatalog } from '../catalog/sqlite/database.ts'
import { Ballast, BALLAST_FILE_BYTES } from '../folder/ballast.ts'
import { BallastKeeper } from './ballast-keeper.ts'
import { isAsLeft, noteCleanStop } from '../catalog/sqlite/clean-stop.ts'
import type { Coordination } from '../coordination/coordination.ts'
import { InProcessCoordination } from '../coordination/in-process.ts'
import { CountedPacks } from '../packs/counted-packs.ts'
import { FolderLock } from '../folder/folder-lock.ts'
import { FORMAT_VERSION } from '../packs/format.ts'
import { UploadWriter, type UploadWriterOptions } from './upload-writer.ts'
import { CATALOG_NAME, LOCK_NAME } from '../folder/layout.ts'
import { Limiter } from '../../protocol/host/limiter.ts'
import type { DatastoreLog } from '../common/log.ts'
import { Space } from './space.ts'
import { makeFolders } from '../folder/new-folder.ts'
import { NodeCache } from '../trees/node-cache.ts'
import { PackPool } from '../packs/pack-pool.ts'
import { openPackStore, packStoreIn, type PackStoreSpec } from '../packs/open-pack-store.ts'
import { strangePacks, type Packs, type PackBallast, type PackStore } from '../packs/pack-store.ts'
import { recover, type RecoveryReport } from './recovery.ts'
import { diskSpace, type DiskSpace } from '../folder/reserve.ts'
import { damagedCatalog, storeError } from '../common/store-error.ts'
import { StoreLock } from '../folder/store-lock.ts'
import { FORMAT_SETTING, PACKS_SETTING } from '../catalog/settings.ts'
import { checkCatalogVersion, checkFormat } from '../catalog/sqlite/store-version.ts'
import { TenantStore } from './tenant-store.ts'
import { RecordPool } from '../packs/record-pool.ts'

export { CATALOG_NAME }

/** Uploads (disks) that may be written at once: each holds two open files and bounded buffers. */
export const WRITERS_MAX = 512

/** Bytes of received chunks that are checked and appended at once, whoever sent them; further batches wait in order. */
const INGEST_BYTES_MAX = 16 * 1024 * 1024

/** Batches that may wait for that; one more is refused with TOO_MANY_REQUESTS. Uploads keep themselves to far fewer. */
const BATCHES_WAITING_MAX = 65_536

export interface DatastoreOptions {
  /** The data folder, made if needed. */
  readonly folder: string
  readonly log: DatastoreLog
  /** Where the packs are, if not in the data folder. */
  readonly packs?: PackStoreSpec
  /** How several writers of this datastore are coordinated; by default there is one. */
  readonly coordination?: Coordination
  /** Threads that check chunks; by default as many as there are cores. */
  readonly threads?: number
  readonly nowMs?: () => number
  /** Length past which nothing is appended to a pack, in bytes, instead of one that follows the disk's size; for tests. */
  readonly packBytesMax?: number
  /**
   * Bytes of the disk that uploads leave free; 0 for none, null (the default) for RESERVE_BYTES_DEFAULT or 5 % of a smaller disk.
   */
  readonly reserveBytes?: number | null
}

type WriterOptions = Pick<UploadWriterOptions, 'tenant' | 'job' | 'disk' | 'machine' | 'references' | 'arrivals'>

interface Parts {
  readonly spec: Datastore['spec']
  readonly coordination: Coordination
  readonly lock: StoreLock
  readonly log: DatastoreLog
  readonly catalog: ThreadCatalog
  readonly store: Packs
  readonly packs: PackPool
  readonly space: Space
  readonly ballast: BallastKeeper
  readonly packsBallast: PackBallast
  readonly packBytesMax: number
  readonly recordPool: RecordPool
  readonly nowMs: () => number
  readonly report: RecoveryReport
  readonly writable: () => Promise<void>
  /** Ends what was opened, in reverse order. */
  readonly resources: AsyncDisposableStack
}

/**
 * Checks that the store has the catalog's mark, or marks it while there is nothing to lose yet. STORE_FAILED for any other store,
 * which is not touched.
 */
const claimPacks = async (catalog: Catalog, store: PackStore): Promise<void> => {
  const known = await catalog.settings.get({ name: PACKS_SETTING })
  const found = store.id
  if (known !== null && known === found) return
  const id = found ?? randomUUID()
  const packs = (await catalog.packs.list()).filter(({ bytes, state }) => bytes > 0 && state !== 'doomed')
  if ((known !== null && found !== null) || packs.length > 0) throw strangePacks()
  // a crash between the two is like an absent marker; an older one may lie below a mount point, so it is a new one
  await catalog.settings.set({ name: PACKS_SETTING, value: id })
  if (found === null) await store.mark(id)
}

/** The disk with less room: that of the data folder, or the packs'. */
const leastSpace = async (folder: string, store: PackStore): Promise<DiskSpace> => {
  const [data, packs] = await Promise.all([diskSpace(folder), store.space()])
  return packs === null || data.freeBytes < packs.freeBytes ? data : packs
}

/** CATALOG_DAMAGED where the catalog is not as it was written: restores and collections based on it would be wrong. */
const refuseDamaged = async (catalog: Catalog, trusted: boolean): Promise<void> => {
  const problems = await catalog.condition.examine({ trusted })
  if (problems.length > 0) throw damagedCatalog(problems.join('; '))
}

const recoverPacks = async (
  options: Omit<Parameters<typeof recover>[0], 'headers'>,
  spec: PackStoreSpec,
): Promise<RecoveryReport> => {
  await using headers = await openPackStore(spec)
  return await recover({ ...options, headers })
}

export class Datastore implements AsyncDisposable {
  readonly catalog: Catalog
  /** Where catalog and packs are, for threads that open them for themselves. */
  readonly spec: { readonly catalogFile: string; readonly packs: PackStoreSpec }
  readonly coordination: Coordination
  /** Held while this is open. */
  readonly lock: StoreLock
  /** What the start found and did. */
  readonly report: RecoveryReport
  /** What uploads may take of the disk, and what each tenant takes. */
  readonly space: Space
  /** Makes the ballast; a running gateway also has it watched. */
  readonly ballast: BallastKeeper
  /** Most bytes of a pack where the packs are. */
  readonly packBytesMax: number
  /** Finds out which restore points damage touches; set by the maintenance. */
  onDamage: (tenant: Tenant) => Promise<void> = async () => {}
  readonly #parts: Parts
  readonly #nodeCache = new NodeCache()
  readonly #limiter = new Limiter({ weightMax: INGEST_BYTES_MAX, waitingMax: BATCHES_WAITING_MAX })
  readonly #writers = new Set<UploadWriter>()
  readonly #tenants = new Map<string, TenantStore>()
  #closed: Promise<void> | null = null

  private constructor(parts: Parts) {
    this.#parts = parts
    this.catalog = parts.catalog
    this.spec = parts.spec
    this.coordination = parts.coordination
    this.lock = parts.lock
    this.report = parts.report
    this.space = parts.space
    this.ballast = parts.ballast
    this.packBytesMax = parts.packBytesMax
  }

  /**
   * Opens or makes the datastore of a folder and recovers it from whatever ended its last run. STORE_LOCKED when another gateway
   * has it; STORE_VERSION, when a later program wrote it, and CATALOG_MISSING, when there are packs without a catalog, with
   * nothing touched; STORE_FAILED, with its packs untouched, where the folder of packs is not the catalog's; STORE_FULL,
   * STORE_FAILED.
   */
  static async open(options: DatastoreOptions): Promise<Datastore> {
    const { folder, log, nowMs = Date.now } = options
    await using resources = new AsyncDisposableStack()
    const catalogFile = path.join(folder, CATALOG_NAME)
    const catalogsBallast = Ballast.beside(catalogFile)
    let lock: StoreLock
    try {
      await makeFolders(folder)
      catalogsBallast.draw(() => checkCatalogVersion(catalogFile))
      const lockFile = path.join(folder, LOCK_NAME)
      // first the one without a file: to the gateway that has the folder, a new file would look as if its lock were lost
      const refused = (error: unknown): never => {
        using _held = existsSync(lockFile) ? new StoreLock(lockFile) : null
        throw error
      }
      resources.use(await FolderLock.take(folder).catch(refused))
      lock = resources.use(catalogsBallast.draw(() => new StoreLock(lockFile)))
    } catch (error) {
      throw storeError(error, 'opening the data folder')
    }
    const trusted = isAsLeft(folder)
    let examined = false
    // once the database is closed, and before the locks are given back
    resources.defer(() => {
      if (examined && !catalog.damaged) noteCleanStop(folder)
    })
    const catalog = resources.use(await openThread(catalogFile))
    checkFormat(await catalog.settings.init({ name: FORMAT_SETTING, value: String(FORMAT_VERSION) }))
    await refuseDamaged(catalog, trusted)
    examined = true
    const packs = options.packs ?? packStoreIn(folder)
    const whole = resources.use(await openPackStore(packs))
    await whole.lock()
    await claimPacks(catalog, whole)
    const { ballast: packsBallast, packBytesMax } = whole
    const ballast = new BallastKeeper({ ballast: catalogsBallast, packs: packsBallast, catalog, catalogFile, log })
    const reserveBytes = options.reserveBytes ?? null
    const space = new Space({ look: () => leastSpace(folder, whole), catalog, log, reserveBytes, ballast })
    const store = new CountedPacks(whole, space.quotas)
    const pool = { store, book: catalog.packs, log, nowMs, packBytesMax: options.packBytesMax ?? packBytesMax }
    const packPool = new PackPool(pool)
    // read before the catalog's: a command beside this start may raise both
    const epoch = await whole.epoch()
    const report = await recoverPacks({ store, catalog, packs: packPool, log, epoch }, packs)
    if (epoch === null)
      await packsBallast.drawing(BALLAST_FILE_BYTES, async () => whole.layEpoch(await catalog.condition.acknowledged()))
    await space.open(report.damaged)
    const recordPool = resources.use(new RecordPool(options.threads))
    const spec = { catalogFile, packs }
    return new Datastore({
      spec,
      coordination: options.coordination ?? new InProcessCoordination(),
      lock,
      log,
      catalog,
      store,
      packs: packPool,
      space,
      ballast,
      packsBallast,
      packBytesMax,
      recordPool,
      nowMs,
      report,
      writable: () => whole.writable(),
      resources: resources.move(),
    })
  }

  /** The datastore as this tenant has it. */
  tenantStore(tenant: Tenant): TenantStore {
    const known = this.#tenants.get(tenant.id)
    if (known !== undefined) return known
    const { catalog, store, packs, packsBallast, recordPool, log, nowMs } = this.#parts
    const tenantStore = new TenantStore({
      tenant,
      catalog,
      store,
      packs,
      references: this.coordination.references(tenant.id),
      ballast: packsBallast,
      recordPool,
      nodeCache: this.#nodeCache,
      log,
      nowMs,
      onDamage: () => this.onDamage(tenant),
      openWriter: async (options) => this.#openWriter(options),
    })
    // one per tenant of the catalog
    this.#tenants.set(tenant.id, tenantStore)
    return tenantStore
  }

  /** STORE_FAILED unless the packs are there, with their mark, and take new ones. */
  writable(): Promise<void> {
    return this.#parts.writable()
  }

  /** Closes the writers, keeping what they checked, then everything else, and the lock last. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  #openWriter(options: WriterOptions): UploadWriter {
    if (this.#closed !== null) throw new VarveError('STORE_FAILED', 'the datastore is closed')
    if (this.#writers.size >= WRITERS_MAX)
      throw new VarveError('TOO_MANY_REQUESTS', `at most ${WRITERS_MAX} disks are written at once: try again later`)
    const { catalog, packs, space, recordPool, log } = this.#parts
    const onClose = (): void => void this.#writers.delete(writer)
    const writer = new UploadWriter({
      ...options,
      catalog,
      packs,
      space,
      recordPool,
      limiter: this.#limiter,
      log,
      onClose,
    })
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
