// Packs in the catalog: made before their file, sealed when full, forgotten only when nothing was ever recorded in them.
import { VarveError } from '../../../protocol/errors.ts'
import type { PackKind } from '../../packs/format.ts'
import { read, write } from './operation.ts'
import type { Sql } from './sql.ts'

export interface PackRow {
  readonly id: number
  /** The tenant's uuid. */
  readonly tenant: string
  readonly kind: PackKind
  readonly uuid: string
  /** Acknowledged length, in bytes: 0 until the first commit. */
  readonly bytes: number
  /** 0 open, 1 when nothing is added any more, 2 when nothing names it and it is to be removed. */
  readonly sealed: number
}

/** Bytes of all packs of a tenant. */
export interface PackTotal {
  /** The tenant's uuid. */
  readonly tenant: string
  readonly bytes: number
}

/** Notes how long packs are whose bytes are synced; STORE_FAILED for one that a collection has let go of meanwhile. */
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
  /** The new pack's row id; the row is there before the file, so that no file is without one. */
  'packs.add': write(
    (sql: Sql, pack: { tenant: number; kind: PackKind; uuid: string; nowMs: number }): number =>
      sql.get<{ id: number }>(
        'INSERT INTO pack (tenant, kind, uuid, bytes, sealed, created_ms) VALUES (?, ?, ?, 0, 0, ?) RETURNING id',
        pack.tenant,
        pack.kind,
        pack.uuid,
        pack.nowMs,
      )!.id,
  ),

  'packs.list': read((sql: Sql, _: Record<string, never>): PackRow[] =>
    sql.all<PackRow>(
      `SELECT pack.id, tenant.uuid AS tenant, pack.kind, pack.uuid, pack.bytes, pack.sealed
       FROM pack JOIN tenant ON tenant.id = pack.tenant ORDER BY pack.id`,
    ),
  ),

  /** Bytes of all packs of each tenant that has any. */
  'packs.totals': read((sql: Sql, _: Record<string, never>): PackTotal[] =>
    sql.all<PackTotal>(
      'SELECT tenant.uuid AS tenant, sum(pack.bytes) AS bytes FROM pack JOIN tenant ON tenant.id = pack.tenant GROUP BY pack.tenant',
    ),
  ),

  /** Ends a pack; its length becomes `bytes` where that is more than what was acknowledged. */
  'packs.seal': write((sql: Sql, { packs }: { packs: readonly { id: number; bytes: number }[] }): null => {
    for (const { id, bytes } of packs)
      sql.run('UPDATE pack SET sealed = 1, bytes = max(bytes, ?) WHERE id = ?', bytes, id)
    return null
  }),

  /** Removes the row of a pack in which nothing was ever acknowledged; true when it did. */
  'packs.forget': write(
    (sql: Sql, { id }: { id: number }): boolean =>
      sql.run(
        // what records a chunk gives its pack a length in the same transaction
        'DELETE FROM pack WHERE id = ? AND bytes = 0 AND sealed = 0',
        id,
      ) > 0,
  ),
}
