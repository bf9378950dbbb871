// Fills an empty catalog from what packs and the catalog before it say; in batches, on an exclusive connection.
import { ID_BYTES } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { PackKind, RecordLocation, RecordType } from '../../packs/format.ts'
import { acknowledged } from './examine.ts'
import type { Manifest } from '../manifest.ts'
import { insertManifest } from './manifest-rows.ts'
import { factOf, type AnyRow, type FactName } from '../facts.ts'
import { hasFact, putFact } from './facts.ts'
import type { Sql } from './sql.ts'

/** Memory for pages of the index, in KiB: rows come in random order. */
const CACHE_KIB = 256 * 1024

/** A tenant of the new catalog. */
export interface BuiltTenant {
  /** Its number in the tables. */
  readonly row: number
  readonly id: string
  readonly name: string
  readonly idKey: Uint8Array
  readonly chunkBytes: number
  readonly createdMs: number
}

export type NewTenant = BuiltTenant & {
  readonly quotaSoftBytes: number | null
  readonly quotaHardBytes: number | null
}

/** A part of a record of a pack. */
export interface PlacedRecord extends Omit<RecordLocation, 'pack'> {
  readonly id: Uint8Array
}

const CHUNK = `INSERT OR IGNORE INTO chunk (tenant, id, type, pack, offset, stored, plain, codec, machine, parts, place)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?)`

export class CatalogBuilder {
  readonly #sql: Sql
  readonly #columns = new Map<string, readonly string[]>()

  constructor(sql: Sql) {
    this.#sql = sql
    // a partial catalog is worthless, so only the finished one is synced
    sql.get('PRAGMA synchronous = OFF')
    sql.get(`PRAGMA cache_size = -${CACHE_KIB}`)
  }

  get sql(): Sql {
    return this.#sql
  }

  /** The columns of a table. */
  columns(table: string): readonly string[] {
    const known = this.#columns.get(table)
    if (known !== undefined) return known
    const rows = this.#sql.all<{ name: string }>('SELECT name FROM pragma_table_info(?)', table)
    const columns = rows.map(({ name }) => name)
    this.#columns.set(table, columns)
    return columns
  }

  transaction<R>(work: () => R): R {
    return this.#sql.transaction(work)
  }

  /** Adds a tenant with the row id that it had, or another one where that is taken. */
  addTenant(tenant: NewTenant): BuiltTenant {
    const { id, idKey, chunkBytes, createdMs } = tenant
    const wanted = this.#sql.get('SELECT 1 FROM tenant WHERE id = ?', tenant.row) === undefined ? tenant.row : null
    const taken = this.#sql.get('SELECT 1 FROM tenant WHERE name = ?', tenant.name) !== undefined
    const name = taken ? `${tenant.name.slice(0, 50)}-${id.slice(0, 8)}` : tenant.name
    const { row } = this.#sql.get<{ row: number }>(
      `INSERT INTO tenant (id, name, uuid, id_key, chunk_bytes, created_ms, quota_soft, quota_hard)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id AS row`,
      wanted,
      name,
      id,
      idKey,
      chunkBytes,
      createdMs,
      tenant.quotaSoftBytes,
      tenant.quotaHardBytes,
    )!
    return { row, id, name, idKey, chunkBytes, createdMs }
  }

  /** Adds a row of a fact as its entry says; false where another one is missing that it needs. */
  addFact(tenant: BuiltTenant, fact: FactName, row: AnyRow, options?: { newest: boolean }): boolean {
    const { needs } = factOf(fact)
    const given = row as Readonly<Record<string, unknown>>
    if (needs !== null && !hasFact(this.#sql, needs[1], String(given[needs[0]]))) return false
    putFact(this.#sql, fact, tenant.row, row, options)
    return true
  }

  machineId(tenant: BuiltTenant, name: string): number | null {
    const sql = 'SELECT id FROM machine WHERE tenant = ? AND name = ?'
    return this.#sql.get<{ id: number }>(sql, tenant.row, name)?.id ?? null
  }

  hasAgent(id: string): boolean {
    return hasFact(this.#sql, 'agents', id)
  }

  /** Adds a sealed pack; its row id. */
  addPack(tenant: BuiltTenant, pack: { kind: PackKind; uuid: string; nowMs: number }): number {
    return this.#sql.get<{ id: number }>(
      'INSERT INTO pack (tenant, kind, uuid, bytes, sealed, created_ms) VALUES (?, ?, ?, 0, 1, ?) RETURNING id',
      tenant.row,
      pack.kind,
      pack.uuid,
      pack.nowMs,
    )!.id
  }

  setPackBytes(pack: number, bytes: number): void {
    this.#sql.run('UPDATE pack SET bytes = ? WHERE id = ?', bytes, pack)
  }

  /** Records of one pack in one transaction; of two with one id the first stays. Returns how many were new. */
  addRecords(tenant: BuiltTenant, pack: number, records: readonly PlacedRecord[]): number {
    let added = 0
    this.transaction(() => {
      for (const { id, type, offset, storedLength, plainLength, codec, parts, place } of records) {
        const values = [type, pack, offset, storedLength, plainLength, codec, parts, place]
        added += this.#sql.run(CHUNK, tenant.row, id, ...values)
      }
    })
    return added
  }

  /** Type of the record that the index has under an id, or null. */
  typeOf(tenant: BuiltTenant, id: Uint8Array): RecordType | null {
    const sql = 'SELECT type FROM chunk WHERE tenant = ? AND id = ?'
    return this.#sql.get<{ type: RecordType }>(sql, tenant.row, id)?.type ?? null
  }

  /** Notes an absent or bad record and removes it from the index; true if that was not known. */
  addDamage(
    tenant: BuiltTenant,
    damage: {
      id: Uint8Array
      type: RecordType
      pack: string | null
      offset: number | null
      reason: string
      foundMs: number
    },
  ): boolean {
    this.#sql.run('DELETE FROM chunk WHERE tenant = ? AND id = ?', tenant.row, damage.id)
    const added = this.#sql.run(
      'INSERT OR IGNORE INTO damage (tenant, id, type, pack, offset, reason, found_ms) VALUES (?, ?, ?, ?, ?, ?, ?)',
      tenant.row,
      damage.id,
      damage.type,
      damage.pack,
      damage.offset,
      damage.reason,
      damage.foundMs,
    )
    return added > 0
  }

  /**
   * The restore point of a manifest, with its job; of two manifests of one point the one committed later stays. An agent or
   * machine that nothing else names is added, the agent as revoked, so that a person must assign the machine. True if something
   * was added that way.
   */
  addPoint(
    tenant: BuiltTenant,
    id: Uint8Array,
    manifest: Manifest,
    flags: { held: boolean; lockedUntilMs: number | null },
  ): boolean {
    const before = this.#sql.get<{ tenant: number; committedMs: number }>(
      'SELECT tenant, committed_ms AS committedMs FROM point WHERE id = ?',
      manifest.point,
    )
    if (before !== undefined && before.tenant !== tenant.row)
      throw new VarveError('DATA_DAMAGED', `two tenants have a restore point ${manifest.point}`)
    if (before !== undefined && before.committedMs >= manifest.committedMs) return false
    return this.transaction(() => {
      if (before !== undefined) this.#removePoint(manifest.point)
      const madeUp = this.#makeOwner(tenant, manifest)
      const machine = this.machineId(tenant, manifest.machine)!
      insertManifest(this.#sql, manifest, { tenant: tenant.row, machine, id, ...flags })
      return madeUp
    })
  }

  /** Finishes a tenant: its state is due for writing, and new backups get numbers above all that were used. */
  finishTenant(tenant: BuiltTenant, state: { seq: number; ids: readonly Uint8Array[] }): void {
    this.#sql.run('DELETE FROM missed WHERE tenant = ? AND point NOT IN (SELECT id FROM point)', tenant.row)
    const there = state.ids.length > 0 && state.ids.every((id) => this.typeOf(tenant, id) !== null)
    this.#sql.run(
      `UPDATE tenant SET state_seq = ?, state_id = ?, state_dirty = 1,
       job_seq = max(coalesce((SELECT max(seq) FROM job WHERE tenant = ?), 0), coalesce((SELECT max(seq) FROM point WHERE tenant = ?), 0))
       WHERE id = ?`,
      state.seq,
      there ? Buffer.concat(state.ids, state.ids.length * ID_BYTES) : null,
      tenant.row,
      tenant.row,
      tenant.row,
    )
  }

  /** Sets the count of acknowledged changes above these, so that no earlier catalog passes for newer; returns it. */
  acknowledgeAbove(...numbers: readonly number[]): number {
    const number = Math.max(...numbers, acknowledged(this.#sql)) + 1
    this.#sql.run("UPDATE tally SET rows = ? WHERE name = 'acknowledged'", number)
    return number
  }

  #removePoint(id: string): void {
    this.#sql.run('DELETE FROM image WHERE point = ?', id)
    this.#sql.run('DELETE FROM point WHERE id = ?', id)
    this.#sql.run('DELETE FROM job WHERE id = ?', id)
  }

  #makeOwner(tenant: BuiltTenant, { agent, machine, committedMs }: Manifest): boolean {
    let madeUp = false
    if (!this.hasAgent(agent)) {
      madeUp = true
      const since = { enrolledMs: committedMs, revokedMs: committedMs, site: null }
      putFact(this.#sql, 'agents', tenant.row, { id: agent, host: 'unknown', publicKey: '', ...since })
    }
    if (this.machineId(tenant, machine) === null) {
      madeUp = true
      const created = {
        row: null,
        name: machine,
        agent,
        group: null,
        createdMs: committedMs,
        uuid: null,
      }
      putFact(this.#sql, 'machines', tenant.row, created)
    }
    return madeUp
  }
}
