// What a check of packs asks of the catalog: where the index says records are, and which restore points it knows.
import { aside, type Operations } from './operation.ts'

/** Rows of the index in one page. */
const PAGE_ROWS = 20_000

export const checkOperations = {
  'checks.places': aside((sql, args) => {
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

  'checks.jobs': aside((sql, args) =>
    Uint8Array.from(args.jobs, (job) =>
      sql.get('SELECT 1 FROM job WHERE id = ? AND tenant = ?', job, args.tenant) === undefined ? 0 : 1,
    ),
  ),

  'checks.points': aside((sql, args) =>
    Uint8Array.from(args.points, (point) => {
      const known =
        sql.get('SELECT 1 FROM point WHERE id = ? AND tenant = ?', point, args.tenant) ??
        sql.get("SELECT 1 FROM job WHERE id = ? AND tenant = ? AND state <> 'committed'", point, args.tenant)
      return known === undefined ? 0 : 1
    }),
  ),
} satisfies Partial<Operations>
