// What a check of packs asks of the catalog: where the index says records are, and which restore points it knows.
import { aside } from './operation.ts'
import type { Sql } from './sql.ts'

/** Rows of the index in one page. */
const PAGE_ROWS = 20_000

/** Places of a part of the index, in columns. */
export interface PlacePage {
  /** Id of the last row; null at the end of the index. */
  readonly last: Uint8Array | null
  /** Row ids of packs. */
  readonly packs: Uint32Array
  readonly offsets: Uint32Array
}

export const checkOperations = {
  /** The next places behind `after` (null: from the beginning). */
  'checks.places': aside((sql: Sql, args: { tenant: number; after: Uint8Array | null }): PlacePage => {
    const rows = sql.all<{ id: Uint8Array; pack: number; offset: number }>(
      'SELECT id, pack, offset FROM chunk WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?',
      args.tenant,
      args.after ?? new Uint8Array(0),
      PAGE_ROWS,
    )
    return {
      last: rows.length < PAGE_ROWS ? null : rows.at(-1)!.id,
      packs: Uint32Array.from(rows, ({ pack }) => pack),
      offsets: Uint32Array.from(rows, ({ offset }) => offset),
    }
  }),

  /** One byte per id: 1 where the catalog has the backup. */
  'checks.jobs': aside((sql: Sql, args: { tenant: number; jobs: readonly string[] }): Uint8Array =>
    Uint8Array.from(args.jobs, (job) =>
      sql.get('SELECT 1 FROM job WHERE id = ? AND tenant = ?', job, args.tenant) === undefined ? 0 : 1,
    ),
  ),

  /** One byte per id: 1 where the catalog has the restore point, or a backup of this id that was not committed. */
  'checks.points': aside((sql: Sql, args: { tenant: number; points: readonly string[] }): Uint8Array =>
    Uint8Array.from(args.points, (point) => {
      const known =
        sql.get('SELECT 1 FROM point WHERE id = ? AND tenant = ?', point, args.tenant) ??
        sql.get("SELECT 1 FROM job WHERE id = ? AND tenant = ? AND state <> 'committed'", point, args.tenant)
      return known === undefined ? 0 : 1
    }),
  ),
}
