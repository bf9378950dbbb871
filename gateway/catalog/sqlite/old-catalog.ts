// A catalog that is to be replaced: what can still be read of it and is not in the packs. It is only read, and may be damaged or
// an old copy.
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import type { JobState } from '../../../protocol/backup.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import { checkCatalogVersion } from './store-version.ts'
import { TENANT_FIELDS, type FactName, type FactRow } from '../facts.ts'
import { selectFact, selectFields } from './facts.ts'
import type { BuiltTenant, CatalogBuilder, NewTenant } from './catalog-builder.ts'
import type { Row } from './sql.ts'

/** Rows that are copied in one transaction. */
const BATCH_ROWS = 1000

export type OldTenant = NewTenant & {
  /** Number of its newest state. */
  readonly seq: number
}

/** A restore point as the old catalog has it. */
export interface OldPoint {
  readonly id: string
  readonly manifest: Uint8Array
  readonly machine: string
  readonly held: number
  readonly lockedUntilMs: number | null
}

/** Known damage: the place of a record that cannot be relied on. */
export interface OldDamage {
  readonly tenant: number
  readonly id: Uint8Array
  readonly type: number
  readonly pack: string | null
  readonly offset: number | null
  readonly reason: string
  readonly foundMs: number
}

const TENANT = `SELECT ${selectFields(TENANT_FIELDS)}, uuid AS id, state_seq AS seq FROM tenant ORDER BY id`

/** What is copied row by row. */
type Table = 'audit' | 'token' | 'enrolment' | 'job' | 'upload' | 'point' | 'image'

const insert = (builder: CatalogBuilder, table: Table, row: Row): void => {
  const columns = builder.columns(table)
  const names = columns.map((column) => `"${column}"`).join(', ')
  const places = columns.map(() => '?').join(', ')
  const values = columns.map((column) => row[column]!)
  builder.sql.run(`INSERT OR IGNORE INTO ${table} (${names}) VALUES (${places})`, ...values)
}

/** A pack and its acknowledged length, in bytes. */
export interface OldPack {
  readonly uuid: string
  readonly bytes: number
}

/** Where a record of the index lies; tenant and pack by their uuids. */
export interface OldRecord {
  readonly tenant: string
  readonly id: Uint8Array
  readonly pack: string
  readonly offset: number
}

export class OldCatalog implements Disposable {
  /** What could not be read, in words. */
  readonly problems: string[] = []
  readonly #db: DatabaseSync
  #whole: boolean | null = null

  private constructor(db: DatabaseSync) {
    this.#db = db
  }

  /** STORE_VERSION when a later program made it; any other error means that nothing of it can be read. */
  static open(file: string): OldCatalog {
    checkCatalogVersion(file, { alone: true })
    const url = pathToFileURL(file)
    if (!existsSync(`${file}-wal`)) url.searchParams.set('immutable', '1')
    const db = new DatabaseSync(url, { readOnly: true })
    try {
      db.prepare('SELECT count(*) FROM tenant').get()
    } catch (error) {
      db.close()
      throw error
    }
    return new OldCatalog(db)
  }

  tenants(): OldTenant[] {
    return this.#all<OldTenant>('tenants', TENANT)
  }

  /** The rows of a fact that can be read, and whether these are all. */
  facts<N extends FactName>(
    fact: N,
    tenant: number,
  ): { readonly rows: readonly FactRow<N>[]; readonly whole: boolean } {
    const before = this.problems.length
    const rows = this.#all<FactRow<N>>(fact, selectFact(fact), tenant)
    return { rows, whole: this.problems.length === before }
  }

  points(tenant: number): OldPoint[] {
    return this.#all<OldPoint>(
      'restore points',
      `SELECT point.id, manifest, machine.name AS machine, held, locked_ms AS lockedUntilMs
       FROM point JOIN machine ON machine.id = point.machine WHERE point.tenant = ?`,
      tenant,
    )
  }

  /** Backups of a tenant in one state. */
  jobs(tenant: number, state: JobState): string[] {
    const text = 'SELECT id FROM job WHERE tenant = ? AND state = ?'
    return this.#all<{ id: string }>('jobs', text, tenant, state).map(({ id }) => id)
  }

  /** Whether all of it is as SQLite wrote it: then what it does not have was not there. */
  isWhole(): boolean {
    this.#whole ??= this.#check()
    return this.#whole
  }

  /** The number of acknowledged changes that it knows of; 0 if it has none. */
  acknowledged(): number {
    try {
      return Number(this.#db.prepare("SELECT rows FROM tally WHERE name = 'acknowledged'").get()?.['rows'] ?? 0)
    } catch {
      // a damaged one
      return 0
    }
  }

  /** Restore points that it knows to lack something. */
  brokenPoints(): Set<string> {
    const rows = this.#all<{ point: string }>('lost ranges', 'SELECT DISTINCT point FROM lost')
    return new Set(rows.map(({ point }) => point))
  }

  packs(): OldPack[] {
    return this.#all<OldPack>('packs', 'SELECT uuid, bytes FROM pack')
  }

  /** Its index, record by record. */
  *records(): Generator<OldRecord> {
    const text = `SELECT tenant.uuid AS tenant, chunk.id, pack.uuid AS pack, chunk.offset
      FROM chunk JOIN pack ON pack.id = chunk.pack JOIN tenant ON tenant.id = chunk.tenant`
    for (const row of this.#rows('the index', text)) yield row as unknown as OldRecord
  }

  damages(): OldDamage[] {
    return this.#all<OldDamage>(
      'damage',
      'SELECT tenant, id, type, pack, offset, reason, found_ms AS foundMs FROM damage',
    )
  }

  /** Copies what belongs to no tenant: the settings, but for those that are there, tokens, and the audit log as it is. */
  copyOwn(builder: CatalogBuilder): void {
    this.#copy('settings', builder, 'SELECT name, value FROM setting', (row) => {
      builder.sql.run('INSERT OR IGNORE INTO setting (name, value) VALUES (?, ?)', row['name']!, row['value']!)
    })
    this.#copy('audit log', builder, `${this.#select(builder, 'audit')} ORDER BY seq`, (row) =>
      insert(builder, 'audit', row),
    )
    this.#copy('tokens', builder, `${this.#select(builder, 'token')} WHERE tenant IS NULL`, (row) =>
      insert(builder, 'token', row),
    )
  }

  /**
   * Copies what belongs to a tenant and is in no pack: tokens, enrolments, jobs with their uploads. `id` is the tenant's row id
   * here.
   */
  copyTenant(builder: CatalogBuilder, id: number, tenant: BuiltTenant): void {
    this.#copy('tokens', builder, `${this.#select(builder, 'token')} WHERE tenant = ${id}`, (row) =>
      insert(builder, 'token', { ...row, tenant: tenant.row }),
    )
    this.#copy('enrolments', builder, `${this.#select(builder, 'enrolment')} WHERE tenant = ${id}`, (row) => {
      const agent = row['agent'] !== null && builder.hasAgent(String(row['agent'])) ? row['agent']! : null
      insert(builder, 'enrolment', { ...row, tenant: tenant.row, agent })
    })
    this.#copy('agents', builder, `SELECT id, seen_ms FROM agent WHERE tenant = ${id}`, (row) => {
      builder.sql.run('UPDATE agent SET seen_ms = ? WHERE id = ?', row['seen_ms']!, row['id']!)
    })
    this.#copyJobs(builder, id, tenant)
  }

  /** Copies a restore point with its images; false where the machine is not known. */
  copyPoint(builder: CatalogBuilder, tenant: BuiltTenant, point: OldPoint): boolean {
    const machine = builder.machineId(tenant, point.machine)
    if (machine === null) return false
    const row = this.#db.prepare(`${this.#select(builder, 'point')} WHERE id = ?`).get(point.id)
    const images = this.#db.prepare(`${this.#select(builder, 'image')} WHERE point = ?`).all(point.id)
    builder.transaction(() => {
      insert(builder, 'point', { ...(row as Row), tenant: tenant.row, machine, verified_ms: null })
      for (const image of images) insert(builder, 'image', image)
    })
    return true
  }

  [Symbol.dispose](): void {
    this.#db.close()
  }

  #check(): boolean {
    try {
      return this.#db.prepare('PRAGMA quick_check(1)').get()?.['quick_check'] === 'ok'
    } catch {
      return false
    }
  }

  #copyJobs(builder: CatalogBuilder, id: number, tenant: BuiltTenant): void {
    const names = new Map(this.facts('machines', id).rows.map(({ row, name }) => [row, name]))
    this.#copy('jobs', builder, `${this.#select(builder, 'job')} WHERE tenant = ${id}`, (row) => {
      const machine = builder.machineId(tenant, names.get(Number(row['machine'])) ?? '')
      if (machine === null || !builder.hasAgent(String(row['agent']))) return
      // a job whose restore point exists has committed, even if an old copy disagrees
      const committed = builder.sql.get("SELECT 1 FROM job WHERE id = ? AND state = 'committed'", row['id']!)
      const state =
        committed === undefined ? row : { ...row, state: 'committed', ended_ms: row['ended_ms'] ?? row['started_ms']! }
      builder.sql.run('DELETE FROM job WHERE id = ?', row['id']!)
      insert(builder, 'job', { ...state, tenant: tenant.row, machine })
    })
    const uploads = `${this.#select(builder, 'upload')} JOIN job ON job.id = upload.job WHERE job.tenant = ${id}`
    this.#copy('jobs', builder, uploads, (row) => {
      if (builder.sql.get('SELECT 1 FROM job WHERE id = ?', row['job']!) !== undefined) insert(builder, 'upload', row)
    })
  }

  /** The columns of a table by name: what has others is damaged, and said to be. */
  #select(builder: CatalogBuilder, table: Table): string {
    const columns = builder.columns(table).map((column) => `${table}."${column}"`)
    return `SELECT ${columns.join(', ')} FROM ${table}`
  }

  /** The rows up to the first one that cannot be read. */
  #all<R extends object>(what: string, text: string, ...values: (number | string)[]): R[] {
    const rows: R[] = []
    try {
      for (const row of this.#db.prepare(text).iterate(...values)) rows.push(row as R)
    } catch (error) {
      this.#problem(what, error)
    }
    return rows
  }

  #copy(what: string, builder: CatalogBuilder, text: string, work: (row: Row) => void): void {
    let batch: Row[] = []
    const flush = (): void => {
      builder.transaction(() => batch.forEach(work))
      batch = []
    }
    for (const row of this.#rows(what, text)) {
      batch.push(row)
      if (batch.length === BATCH_ROWS) flush()
    }
    flush()
  }

  *#rows(what: string, text: string): Generator<Row> {
    try {
      for (const row of this.#db.prepare(text).iterate()) yield row
    } catch (error) {
      this.#problem(what, error)
    }
  }

  #problem(what: string, error: unknown): void {
    this.problems.push(`${what}: ${asVarveError(error).message}`)
  }
}
