// What tests do to a catalog past its methods, on purpose: rows forgotten, misplaced and falsified. Beside the
// engine's own tests only this file knows tables and columns; a function takes the data folder, also that of a running gateway,
// or the catalog in memory that `memoryCatalog` gives.
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { catalogOver } from '../../gateway/catalog/sqlite/database.ts'
import { Sql, type Row } from '../../gateway/catalog/sqlite/sql.ts'
import type { Catalog } from '../../gateway/catalog/catalog.ts'
import { CATALOG_NAME } from '../../gateway/folder/layout.ts'
import type { RecordType } from '../../gateway/packs/format.ts'

/** A record as the index has it. */
export interface IndexedRecord {
  readonly id: Uint8Array
  readonly type: RecordType
  /** The tenant's name. */
  readonly tenant: string
  /** The tenant's uuid. */
  readonly tenantId: string
  /** The pack's uuid. */
  readonly pack: string
  readonly offset: number
  readonly stored: number
  /** Parts of its record. */
  readonly parts: number
}

/** A handle of a pack that no catalog gives out in a test. */
const NO_PACK = 999

const RECORDS = `SELECT chunk.id, chunk.type, tenant.name AS tenant, tenant.uuid AS tenantId, pack.uuid AS pack,
  chunk.offset, chunk.stored, chunk.parts FROM chunk JOIN pack ON pack.id = chunk.pack JOIN tenant ON tenant.id = chunk.tenant`

const changing = <R>(folder: string, work: (sql: Sql) => R): R => {
  using sql = new Sql(path.join(folder, CATALOG_NAME))
  return sql.transaction(() => work(sql))
}

/** A catalog in memory, and what tests do to its rows. */
export class MemoryCatalog implements Disposable {
  readonly #sql = new Sql(':memory:')
  readonly catalog: Catalog = catalogOver(this.#sql)

  /** Puts this in place of the rules of notifications of all tenants; those of the platform stay. */
  replaceNoticeRules(rule: unknown): void {
    this.#sql.run('UPDATE notice_rule SET rule = ? WHERE tenant <> 0', JSON.stringify(rule))
  }

  [Symbol.dispose](): void {
    this.#sql[Symbol.dispose]()
  }
}

const columnsOf = (sql: Sql, table: string): string[] =>
  sql.all<{ name: string }>('SELECT name FROM pragma_table_info(?)', table).map(({ name }) => `"${name}"`)

const forEach = (folder: string, ids: readonly Uint8Array[], text: string): void =>
  changing(folder, (sql) => {
    for (const id of ids) sql.run(text, id)
  })

// what there is to damage

/** All records of the index, or those of one type, by tenant, type and id. */
export const indexedRecords = (folder: string, type?: RecordType): IndexedRecord[] => {
  using sql = new Sql(path.join(folder, CATALOG_NAME))
  const all = sql.all<IndexedRecord>(`${RECORDS} ORDER BY chunk.tenant, chunk.type, hex(chunk.id)`)
  return type === undefined ? all : all.filter((record) => record.type === type)
}

export const indexedRecord = (folder: string, id: Uint8Array): IndexedRecord | undefined => {
  using sql = new Sql(path.join(folder, CATALOG_NAME))
  return sql.get<IndexedRecord>(`${RECORDS} WHERE chunk.id = ?`, id)
}

/** The key of a tenant's ids. */
export const idKeyOf = (folder: string, tenant: string): Uint8Array => {
  using sql = new Sql(path.join(folder, CATALOG_NAME))
  return sql.get<{ key: Uint8Array }>('SELECT id_key AS key FROM tenant WHERE name = ?', tenant)!.key
}

/** Number of the first page of the index, whose pages have numbers from 1. */
export const indexPage = (folder: string): number => {
  using sql = new Sql(path.join(folder, CATALOG_NAME))
  return sql.get<{ page: number }>("SELECT rootpage AS page FROM sqlite_master WHERE name = 'chunk'")!.page
}

/** Brings all of the catalog into its one file. */
export const settleCatalog = (folder: string): void => {
  using sql = new Sql(path.join(folder, CATALOG_NAME))
  sql.get('PRAGMA wal_checkpoint(TRUNCATE)')
}

/** Writes the catalog anew, without free pages. */
export const compactCatalog = (folder: string): void => {
  using sql = new Sql(path.join(folder, CATALOG_NAME))
  sql.run('VACUUM')
}

// the index

export const forgetRecords = (folder: string, ids: readonly Uint8Array[]): void =>
  forEach(folder, ids, 'DELETE FROM chunk WHERE id = ?')

export const renameRecord = (folder: string, id: Uint8Array, to: Uint8Array): void =>
  changing(folder, (sql) => void sql.run('UPDATE chunk SET id = ? WHERE id = ?', to, id))

/** Turns a bit in the ids of so many records of a type. */
export const flipIds = (folder: string, type: RecordType, count: number): void => {
  for (const { id } of indexedRecords(folder, type).slice(-count)) {
    const flipped = Uint8Array.from(id)
    flipped[20]! ^= 4
    renameRecord(folder, id, flipped)
  }
}

/** The index says that the records begin so many bytes later than they do. */
export const shiftRecords = (folder: string, ids: readonly Uint8Array[], bytes = 1): void =>
  forEach(folder, ids, `UPDATE chunk SET offset = offset + ${bytes} WHERE id = ?`)

/** The index says that the records are a byte longer than they are. */
export const lengthenRecords = (folder: string, ids: readonly Uint8Array[]): void =>
  forEach(folder, ids, 'UPDATE chunk SET stored = stored + 1, plain = plain + 1 WHERE id = ?')

/** The index says that the records lie in this pack, at the same offsets. */
export const moveRecords = (folder: string, ids: readonly Uint8Array[], pack: string): void =>
  changing(folder, (sql) => {
    for (const id of ids) sql.run('UPDATE chunk SET pack = (SELECT id FROM pack WHERE uuid = ?) WHERE id = ?', pack, id)
  })

/** The index says that the records lie in a pack that the catalog does not have. */
export const nameNoPack = (folder: string, ids: readonly Uint8Array[]): void =>
  forEach(folder, ids, `UPDATE chunk SET pack = ${NO_PACK} WHERE id = ?`)

/** Adds records that no pack has, at the places of those of the type. */
export const inventRecords = (folder: string, type: RecordType): number =>
  changing(folder, (sql) => {
    const like = sql.all<{ id: Uint8Array }>('SELECT id FROM chunk WHERE type = ?', type)
    for (const { id } of like)
      sql.run(
        `INSERT INTO chunk (tenant, id, type, pack, offset, stored, plain, codec, machine, parts, place)
         SELECT tenant, ?, type, pack, offset, stored, plain, codec, machine, parts, place FROM chunk WHERE id = ?`,
        randomBytes(32),
        id,
      )
    return like.length
  })

// packs

/** All packs are said to be let go of. */
export const doomPacks = (folder: string): void => changing(folder, (sql) => void sql.run('UPDATE pack SET sealed = 2'))

/** The count that the catalog keeps of its packs is one too high. */
export const miscountPacks = (folder: string): void =>
  changing(folder, (sql) => void sql.run('UPDATE pack_tally SET rows = rows + 1'))

// restore points and their disks

/** Takes restore points out, as pruning does, whatever protects them. */
export const forgetPoints = (folder: string, points: readonly string[]): void =>
  changing(folder, (sql) => {
    for (const point of points)
      for (const statement of [
        'DELETE FROM lost WHERE point = ?',
        'DELETE FROM image WHERE point = ?',
        'DELETE FROM missed WHERE point = ?',
        'DELETE FROM point WHERE id = ?',
      ])
        sql.run(statement, point)
  })

/** Takes the disks out of all restore points, or out of one. */
export const forgetDisks = (folder: string, point: string | null): void =>
  changing(folder, (sql) => void sql.run('DELETE FROM image WHERE point = coalesce(?, point)', point))

/** The disks of all restore points are said to be zeroes. */
export const forgetRoots = (folder: string): void =>
  changing(folder, (sql) => void sql.run('UPDATE image SET root = NULL'))

/** The disks of all restore points, or of one, have this size. */
export const setDiskSizes = (folder: string, bytes: number, point: string | null): void =>
  changing(folder, (sql) => void sql.run('UPDATE image SET size = ? WHERE point = coalesce(?, point)', bytes, point))

/** So many copies of a restore point with one disk, each of them with so many disks with the longest names. */
export const copyPoint = (folder: string, point: string, count: number, disks: number): void => {
  changing(folder, (sql) => {
    const same = columnsOf(sql, 'point')
      .filter((column) => column !== '"id"')
      .join(', ')
    for (let copy = 0; copy < count; copy++) {
      const id = crypto.randomUUID()
      sql.run(`INSERT INTO point (id, ${same}) SELECT ?, ${same} FROM point WHERE id = ?`, id, point)
      for (let disk = 0; disk < disks; disk++)
        sql.run(
          `INSERT INTO image (point, disk, ordinal, attachment, size, root, kind, reason, changed, compared)
           SELECT ?, ?, ?, attachment, size, ?, kind, reason, changed, compared FROM image WHERE point = ?`,
          id,
          `disk-${disk}`.padEnd(64, 'x'),
          disk,
          new Uint8Array(32).fill(copy),
          point,
        )
    }
  })
}

/** All other restore points of its machine were made before this one. */
export const makeNewest = (folder: string, point: string): void =>
  changing(folder, (sql) => {
    sql.run('UPDATE point SET seq = 0 WHERE machine = (SELECT machine FROM point WHERE id = ?1) AND id <> ?1', point)
  })

// jobs, tenants and the rest

export const forgetJob = (folder: string, job: string): void =>
  changing(folder, (sql) => {
    sql.run('DELETE FROM upload WHERE job = ?', job)
    sql.run('DELETE FROM job WHERE id = ?', job)
  })

/**
 * As a crash after the records were written leaves it: a commit and all manifests and states never came, and packs have the
 * lengths of before, by uuid.
 */
export const undoCommit = (folder: string, job: string, packs: ReadonlyMap<string, number>): void =>
  changing(folder, (sql) => {
    for (const [pack, bytes] of packs) sql.run('UPDATE pack SET bytes = ? WHERE uuid = ?', bytes, pack)
    sql.run('DELETE FROM chunk WHERE type > 2')
    sql.run('DELETE FROM image WHERE point = ?', job)
    sql.run('DELETE FROM point WHERE id = ?', job)
    sql.run("UPDATE job SET state = 'running', ended_ms = NULL WHERE id = ?", job)
  })

/** Takes an entry out of the audit log; the returned function puts it back. */
export const forgetAuditEntry = (folder: string, seq: number): (() => void) => {
  const row = changing(folder, (sql) => {
    const found = sql.get('SELECT * FROM audit WHERE seq = ?', seq)!
    sql.run('DELETE FROM audit WHERE seq = ?', seq)
    return found
  })
  const columns = Object.keys(row)
  const text = `INSERT INTO audit (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`
  return () => changing(folder, (sql) => void sql.run(text, ...Object.values(row)))
}

/** The newest state of each tenant has this number. */
export const setStateNumbers = (folder: string, seq: number): void =>
  changing(folder, (sql) => void sql.run('UPDATE tenant SET state_seq = ?', seq))

export const forgetSetting = (folder: string, name: string): void =>
  changing(folder, (sql) => void sql.run('DELETE FROM setting WHERE name = ?', name))

/** The catalog is one of a later program. */
export const setSchemaVersion = (folder: string, version: number): void => {
  using sql = new Sql(path.join(folder, CATALOG_NAME))
  sql.run(`PRAGMA user_version = ${version}`)
}

/** Makes a database of another program. */
export const makeForeignDatabase = (file: string, version = 0): void => {
  using db = new DatabaseSync(file)
  db.exec(`CREATE TABLE theirs (x); PRAGMA user_version = ${version}`)
}

// all that a rebuild must bring back

/** Rows that packs hold. */
const PACKED = {
  tenant: 'SELECT id, name, uuid, id_key, chunk_bytes, created_ms, quota_soft, quota_hard FROM tenant ORDER BY id',
  agent: 'SELECT id, tenant, host, public_key, enrolled_ms, revoked_ms FROM agent ORDER BY id',
  machine: 'SELECT * FROM machine ORDER BY id',
  point: 'SELECT * FROM point ORDER BY id',
  image: 'SELECT * FROM image ORDER BY point, ordinal',
  plan: 'SELECT * FROM plan ORDER BY tenant, name',
  exclusion: 'SELECT * FROM exclusion ORDER BY tenant, machine',
  missed: 'SELECT * FROM missed ORDER BY tenant, point, disk',
  gateway: "SELECT value FROM setting WHERE name = 'gateway'",
  chunk: `SELECT chunk.tenant, chunk.id, type, pack.uuid, offset, stored, plain, codec, parts, place
    FROM chunk JOIN pack ON pack.id = chunk.pack ORDER BY chunk.tenant, chunk.id`,
  pack: 'SELECT tenant, kind, uuid, bytes FROM pack ORDER BY uuid',
}

/** Rows that packs do not hold and an old catalog does. */
const BESIDES = {
  audit: 'SELECT * FROM audit ORDER BY seq',
  token: 'SELECT * FROM token ORDER BY id',
  enrolment: 'SELECT * FROM enrolment ORDER BY id',
  job: 'SELECT * FROM job ORDER BY id',
  upload: 'SELECT * FROM upload ORDER BY job, disk',
  setting: "SELECT * FROM setting WHERE name <> 'audit-head' ORDER BY name",
}

const rowsBy = <K extends string>(folder: string, tables: Readonly<Record<K, string>>): Record<K, Row[]> => {
  using sql = new Sql(path.join(folder, CATALOG_NAME))
  const names = Object.keys(tables) as K[]
  return Object.fromEntries(names.map((name) => [name, sql.all(tables[name])])) as Record<K, Row[]>
}

export const packedRows = (folder: string): Record<keyof typeof PACKED, Row[]> => rowsBy(folder, PACKED)
export const rowsBeside = (folder: string): Record<keyof typeof BESIDES, Row[]> => rowsBy(folder, BESIDES)
