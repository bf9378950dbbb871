// Builds the catalog and index of a stopped gateway again from its packs alone, and from an older catalog what packs do not hold.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { MaintenanceProgress } from '../../protocol/maintenance.ts'
import { LOCAL_ADMINISTRATOR } from '../auth/tokens.ts'
import { CatalogLock } from '../catalog/sqlite/catalog-lock.ts'
import { appendAudit } from '../catalog/sqlite/audit.ts'
import { CatalogBuilder } from '../catalog/sqlite/catalog-builder.ts'
import { catalogOver } from '../catalog/sqlite/database.ts'
import { OldCatalog, type OldPoint } from '../catalog/sqlite/old-catalog.ts'
import { Sql } from '../catalog/sqlite/sql.ts'
import { PACKS_SETTING } from '../catalog/sqlite/store-version.ts'
import { openPackStore, packNotes, packStoreIn } from '../packs/open-pack-store.ts'
import type { RecordType } from '../packs/format.ts'
import { FolderLock } from '../folder/folder-lock.ts'
import { CATALOG_NAME, LOCK_NAME } from '../folder/layout.ts'
import type { DatastoreLog } from '../common/log.ts'
import type { Manifest } from '../catalog/manifest.ts'
import type { Packs } from '../packs/pack-store.ts'
import { storeError } from '../common/store-error.ts'
import { StoreLock } from '../folder/store-lock.ts'
import { lossOf, refuseLoss, refuseNothing } from './rebuild-loss.ts'
import { CatalogPlace } from './rebuild-place.ts'
import { RebuildReport } from './rebuild-report.ts'
import { eachPack, findPacks, findStates, PackIndexer, type FoundPack } from './rebuild-scan.ts'
import { addTenants, isLive, type Subject } from './rebuild-tenants.ts'
import { PointWalk } from './rebuild-walk.ts'

export interface RebuildOptions {
  /** The data folder, which no gateway has open. */
  readonly folder: string
  readonly log: DatastoreLog
  readonly onProgress?: (progress: MaintenanceProgress) => void
  readonly signal?: AbortSignal
  readonly nowMs?: () => number
  /** Ends with REBUILD_LOSES, and changes nothing, where the old catalog has more than the new one. */
  readonly refuseLoss?: boolean
}

class Rebuild {
  readonly #report: RebuildReport
  readonly #builder: CatalogBuilder
  readonly #old: OldCatalog | null
  readonly #store: Packs
  readonly #signal: AbortSignal
  readonly #nowMs: number
  readonly #onProgress: (progress: MaintenanceProgress) => void

  constructor(parts: {
    report: RebuildReport
    builder: CatalogBuilder
    old: OldCatalog | null
    store: Packs
    signal: AbortSignal
    nowMs: number
    onProgress: (progress: MaintenanceProgress) => void
  }) {
    this.#report = parts.report
    this.#builder = parts.builder
    this.#old = parts.old
    this.#store = parts.store
    this.#signal = parts.signal
    this.#nowMs = parts.nowMs
    this.#onProgress = parts.onProgress
  }

  async run(): Promise<void> {
    const context = { store: this.#store, report: this.#report, signal: this.#signal }
    const packs = await findPacks(context)
    const count = this.#counter(packs)
    const states = await findStates(context, packs, count)
    const subjects = addTenants({ builder: this.#builder, old: this.#old, report: this.#report }, states, packs)
    const suspects = this.#suspects()
    const indexer = new PackIndexer(context, this.#builder, this.#nowMs)
    await eachPack(packs, async (pack) => {
      const subject = subjects.get(pack.name.tenant)
      if (subject === undefined) return
      const onManifest = (id: Uint8Array, manifest: Manifest): void => this.#addPoint(subject, id, manifest)
      await indexer.index(pack, { tenant: subject.tenant, suspects, onManifest })
      count(pack.bytes)
    })
    this.#old?.copyOwn(this.#builder)
    for (const subject of subjects.values()) this.#takeOver(subject)
    this.#takeDamage(subjects)
    await this.#walk(subjects)
    for (const subject of subjects.values()) this.#finish(subject)
    for (const problem of this.#old?.problems ?? [])
      this.#report.remarks.add(`the old catalog was not read completely: ${problem}`)
    this.#count()
  }

  /** Reports how much was read: states are in nodes packs, which are read twice. */
  #counter(packs: readonly FoundPack[]): (bytes: number) => void {
    const total = packs.reduce((sum, { kind, bytes }) => sum + (kind === 'data' ? bytes : 2 * bytes), 0)
    let done = 0
    return (bytes) => {
      done += bytes
      this.#onProgress({ phase: 'scan', done, total })
    }
  }

  /** Places of records that were known to be damaged: their content is checked before they are relied on again. */
  #suspects(): Set<string> {
    const places = new Set<string>()
    for (const { pack, offset } of this.#old?.damages() ?? [])
      if (pack !== null && offset !== null) places.add(`${pack} ${offset}`)
    return places
  }

  #addPoint(subject: Subject, id: Uint8Array, manifest: Manifest): void {
    subject.seq = Math.max(subject.seq, manifest.state)
    if (!isLive(subject, manifest)) {
      this.#report.prunedPoints++
      return
    }
    const said = subject.points.get(manifest.point)
    const lockedUntilMs = later(manifest.lockedUntilMs, said?.lockedUntilMs ?? null)
    const madeUp = this.#builder.addPoint(subject.tenant, id, manifest, { held: said?.held ?? false, lockedUntilMs })
    if (madeUp)
      this.#report.remarks.add(
        `only a restore point names machine ${manifest.machine} or its agent ${manifest.agent}: assign the machine to an agent`,
      )
    subject.manifests.add(manifest.point)
  }

  /** Takes what packs do not hold from the old catalog; and notes what both lack. */
  #takeOver(subject: Subject): void {
    const { tenant, old, found } = subject
    const known = new Set<string>()
    if (old !== null) {
      const newer = found === null || old.seq >= found.state.seq
      this.#old!.copyTenant(this.#builder, old.row, tenant)
      for (const point of this.#old!.points(old.row)) {
        known.add(point.id)
        if (subject.manifests.has(point.id)) this.#mergeFlags(point, newer)
        else if (newer || subject.points.has(point.id)) this.#takePoint(subject, point)
      }
    }
    for (const id of subject.points.keys())
      if (!subject.manifests.has(id) && !known.has(id))
        this.#report.loses({ tenant: tenant.name, point: id, problem: 'its manifest is not in the packs' })
  }

  /** Holds follow the most reliable source; a lock is never shortened. */
  #mergeFlags({ id, held, lockedUntilMs }: OldPoint, newer: boolean): void {
    const { sql } = this.#builder
    if (newer) sql.run('UPDATE point SET held = ? WHERE id = ?', held, id)
    if (lockedUntilMs !== null)
      sql.run('UPDATE point SET locked_ms = max(coalesce(locked_ms, 0), ?) WHERE id = ?', lockedUntilMs, id)
  }

  #takePoint({ tenant, failedJobs }: Subject, point: OldPoint): void {
    const what = { tenant: tenant.name, point: point.id }
    try {
      if (failedJobs.has(point.id)) return
      if (this.#old!.copyPoint(this.#builder, tenant, point)) this.#report.catalogPoints.add(what)
      else this.#report.loses({ ...what, problem: `its machine ${point.machine} is not known` })
    } catch (thrown) {
      const error = storeError(thrown, 'reading the old catalog')
      if (error.code === 'STORE_FULL') throw error
      this.#report.loses({ ...what, problem: error.message })
    }
  }

  /** Known damage stays damage, except for records of which the packs have a good copy. */
  #takeDamage(subjects: ReadonlyMap<string, Subject>): void {
    const byRow = new Map(
      [...subjects.values()].flatMap(({ old, tenant }) => (old === null ? [] : [[old.row, tenant]])),
    )
    for (const { tenant: row, type, ...damage } of this.#old?.damages() ?? []) {
      const tenant = byRow.get(row)
      if (tenant !== undefined && this.#builder.typeOf(tenant, damage.id) === null)
        this.#builder.addDamage(tenant, { ...damage, type: type as RecordType })
    }
  }

  async #walk(subjects: ReadonlyMap<string, Subject>): Promise<void> {
    const { sql } = this.#builder
    const catalog = catalogOver(sql)
    const total = this.#rows('point')
    let done = 0
    for (const { tenant } of subjects.values()) {
      const walk = new PointWalk({
        tenant,
        builder: this.#builder,
        catalog,
        store: this.#store,
        report: this.#report,
        signal: this.#signal,
        nowMs: this.#nowMs,
      })
      await walk.run(() => this.#onProgress({ phase: 'mark', done: ++done, total }))
    }
  }

  #finish({ tenant, found, seq }: Subject): void {
    const ids = found?.complete === true ? found.ids : []
    this.#builder.finishTenant(tenant, { seq, ids })
  }

  #count(): void {
    const report = this.#report
    report.tenants = this.#rows('tenant')
    report.machines = this.#rows('machine')
    report.agents = this.#rows('agent')
    report.points = this.#rows('point')
  }

  #rows(table: 'tenant' | 'machine' | 'agent' | 'point'): number {
    return this.#builder.sql.get<{ count: number }>(`SELECT count(*) AS count FROM ${table}`)!.count
  }
}

const later = (a: number | null, b: number | null): number | null => (a === null ? b : b === null ? a : Math.max(a, b))

const openOld = (place: CatalogPlace, report: RebuildReport): OldCatalog | null => {
  const file = place.old
  if (file === null) return null
  try {
    const old = OldCatalog.open(file)
    report.takenFrom = path.basename(file)
    return old
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code === 'STORE_VERSION') throw error
    report.remarks.add(`the old catalog cannot be read: ${error.message}`)
    return null
  }
}

const writeAudit = (sql: Sql, report: RebuildReport, nowMs: number): void => {
  const { subject, role } = LOCAL_ADMINISTRATOR
  const { tenants, points, records, missingRecords } = report
  const details = { tenants, points, records, missingRecords, lostPoints: report.lostPoints.count }
  sql.transaction(() =>
    appendAudit(sql, {
      timeMs: nowMs,
      tenant: null,
      subject,
      role,
      action: 'store.rebuild',
      resource: '',
      outcome: 'ok',
      details: { ...details, unreadable: report.unreadable.count },
    }),
  )
}

const lockStore = (folder: string): StoreLock => {
  try {
    return new StoreLock(path.join(folder, LOCK_NAME))
  } catch (thrown) {
    if (!(thrown instanceof VarveError)) throw thrown
    throw new VarveError(
      thrown.code,
      'a gateway, or a command that works on it alone, has this data folder open: stop it first',
      { cause: thrown },
    )
  }
}

/**
 * Builds the catalog again and puts it in place of the old one, which is kept beside it. Until then nothing of the datastore is
 * changed, so that a rebuild may be interrupted at any time and begun again. Packs are only read. CONFIG_INVALID without packs,
 * STORE_LOCKED while a gateway runs or a command uses the catalog, STORE_VERSION when a later program wrote catalog or state;
 * STORE_FULL, STORE_FAILED.
 */
export const rebuild = async (options: RebuildOptions): Promise<RebuildReport> => {
  const { folder, log, onProgress = () => {}, nowMs = Date.now } = options
  const signal = options.signal ?? new AbortController().signal
  const startedMs = nowMs()
  const begunMs = performance.now()
  const spec = packStoreIn(folder)
  const notes = packNotes(spec)
  // an empty mount point has neither
  if (!notes.hasPacks() && notes.id() === null)
    throw new VarveError(
      'CONFIG_INVALID',
      `there are no packs in ${folder}; name the gateway's data folder with --data DIR`,
    )
  const report = new RebuildReport()
  try {
    using _lock = lockStore(folder)
    await using _folder = await FolderLock.take(folder)
    using _catalog = CatalogLock.take(folder)
    await using store = await openPackStore(spec)
    await store.lock()
    const place = new CatalogPlace(folder)
    await place.prepare()
    let epoch: number
    try {
      using old = openOld(place, report)
      using sql = new Sql(place.fresh)
      const builder = new CatalogBuilder(sql)
      const marker = store.id ?? randomUUID()
      sql.run('INSERT INTO setting (name, value) VALUES (?, ?)', PACKS_SETTING, marker)
      await new Rebuild({ report, builder, old, store, signal, nowMs: startedMs, onProgress }).run()
      if (options.refuseLoss === true) refuseNothing(report, await store.epoch())
      if (options.refuseLoss === true && old !== null && report.takenFrom === CATALOG_NAME)
        refuseLoss(lossOf(old, sql, report, await store.epoch()))
      writeAudit(sql, report, startedMs)
      epoch = builder.acknowledgeAbove((await store.epoch()) ?? 0, old?.acknowledged() ?? 0)
      sql.get('PRAGMA wal_checkpoint(TRUNCATE)')
      signal.throwIfAborted()
      // packs that disappeared meanwhile, with their file system, would count as lost
      await store.confirm()
      if (store.id === null) await store.mark(marker)
    } catch (error) {
      // the next rebuild removes what is left
      await place.discard().catch(() => {})
      throw error
    }
    report.replaced = await place.put()
    // from here on the replaced one is an older copy
    await store.layEpoch(epoch)
  } catch (thrown) {
    throw storeError(thrown, 'rebuilding the catalog')
  }
  report.durationMs = Math.round(performance.now() - begunMs)
  log.info({ points: report.points, records: report.records, replaced: report.replaced }, 'the catalog was rebuilt')
  return report
}
