// Packs in the catalog: made before their file, sealed when full, forgotten only when nothing was ever recorded in them.
import type { PackRow, PackTotal } from '../packs.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { read, write, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'

/** Notes the lengths of packs whose bytes are synced; STORE_FAILED for one that a collection has removed meanwhile. */
export const growPacks = (
  sql: Sql,
  packs: readonly { readonly id: number; readonly bytes: number; readonly sealed: boolean }[],
): void => {
  for (const { id, bytes, sealed } of packs) {
    const grow = 'UPDATE pack SET bytes = max(bytes, ?), sealed = max(sealed, ?) WHERE id = ? AND sealed < 2'
    if (sql.run(grow, bytes, Number(sealed), id) === 0)
      throw new VarveError('STORE_FAILED', 'a pack that was written to is not there any more')
  }
}

export const packOperations = {
  'packs.add': write(
    (sql, pack) =>
      sql.get<{ id: number }>(
        'INSERT INTO pack (tenant, kind, uuid, bytes, sealed, created_ms) VALUES (?, ?, ?, 0, 0, ?) RETURNING id',
        pack.tenant,
        pack.kind,
        pack.uuid,
        pack.nowMs,
      )!.id,
  ),

  'packs.list': read((sql) =>
    sql.all<PackRow>(
      `SELECT pack.id, tenant.uuid AS tenant, pack.kind, pack.uuid, pack.bytes,
       CASE pack.sealed WHEN 0 THEN 'open' WHEN 1 THEN 'sealed' ELSE 'doomed' END AS state
       FROM pack JOIN tenant ON tenant.id = pack.tenant ORDER BY pack.id`,
    ),
  ),

  'packs.totals': read((sql) =>
    sql.all<PackTotal>(
      'SELECT tenant.uuid AS tenant, sum(pack.bytes) AS bytes FROM pack JOIN tenant ON tenant.id = pack.tenant GROUP BY pack.tenant',
    ),
  ),

  'packs.seal': write((sql, { packs }) => {
    for (const { id, bytes } of packs)
      sql.run('UPDATE pack SET sealed = 1, bytes = max(bytes, ?) WHERE id = ?', bytes, id)
  }),

  'packs.forget': write(
    (sql, { id }) =>
      sql.run(
        // recording a chunk sets its pack's length in the same transaction
        'DELETE FROM pack WHERE id = ? AND bytes = 0 AND sealed = 0',
        id,
      ) > 0,
  ),
} satisfies Partial<Operations>
