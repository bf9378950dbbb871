// What is lost with tree nodes that cannot be read: which restore points it touches, and whose loss a person may accept.
import type { Acceptance, LostSubtrees } from '../damage.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { ID_BYTES } from '../../../protocol/chunk.ts'
import { RECORD } from '../../packs/format.ts'
import { read, type Operations } from './operation.ts'
import { withFlags, type Flagged } from './flags.ts'
import type { Sql } from './sql.ts'

/** Damaged ids of one page. */
const PAGE_IDS = 8192

/** POINT_HELD for a held or locked point, whose loss cannot be accepted; NOT_FOUND. */
export const checkAcceptable = (sql: Sql, tenant: number, { points, nowMs }: Acceptance): void => {
  for (const point of points) checkPoint(sql, tenant, point, nowMs)
}

const checkPoint = (sql: Sql, tenant: number, point: string, nowMs: number): void => {
  const row = sql.get<{ held: number; locked: number | null }>(
    'SELECT held, locked_ms AS locked FROM point WHERE tenant = ? AND id = ?',
    tenant,
    point,
  )
  if (row === undefined) throw new VarveError('NOT_FOUND', `there is no restore point ${point}`, { details: { point } })
  if (row.held !== 0 || (row.locked ?? 0) > nowMs)
    throw new VarveError(
      'POINT_HELD',
      `restore point ${point} is ${row.held === 0 ? 'locked' : 'held'}: its loss cannot be accepted, and what it may need stays`,
      { details: { point } },
    )
}

export const lossOperations = {
  'losses.acceptable': read((sql, { tenant, accepted }) => checkAcceptable(sql, tenant, accepted)),

  'losses.subtrees': read((sql, { tenant }) =>
    sql
      .all<Flagged<LostSubtrees>>(
        `SELECT DISTINCT point.id AS point, machine.name AS machine, lost.disk, point.held, point.locked_ms AS lockedUntilMs
       FROM damage JOIN lost ON lost.id = damage.id JOIN point ON point.id = lost.point AND point.tenant = damage.tenant
       JOIN machine ON machine.id = point.machine
       WHERE damage.tenant = ? AND damage.type = ? ORDER BY machine.name, point.time_ms, point.id, lost.disk`,
        tenant,
        RECORD.node,
      )
      .map(withFlags<LostSubtrees>('held')),
  ),

  'damage.ids': read((sql, args) => {
    const rows = sql.all<{ id: Uint8Array }>(
      'SELECT id FROM damage WHERE tenant = ? AND (? IS NULL OR id > ?) ORDER BY id LIMIT ?',
      args.tenant,
      args.after,
      args.after,
      PAGE_IDS,
    )
    const ids = new Uint8Array(rows.length * ID_BYTES)
    for (const [index, { id }] of rows.entries()) ids.set(id, index * ID_BYTES)
    return ids
  }),

  'damage.known': read((sql, args) =>
    Uint8Array.from({ length: args.ids.length / ID_BYTES }, (_, index) =>
      sql.get(
        'SELECT 1 FROM damage WHERE tenant = ? AND id = ?',
        args.tenant,
        args.ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES),
      ) === undefined
        ? 0
        : 1,
    ),
  ),

  'damage.nodes': read(
    (sql, { tenant }) =>
      sql.get('SELECT 1 FROM damage WHERE tenant = ? AND type = ? LIMIT 1', tenant, RECORD.node) !== undefined,
  ),

  'damage.packs': read((sql, { tenant }) =>
    sql
      .all<{ pack: string }>('SELECT DISTINCT pack FROM damage WHERE tenant = ? AND pack IS NOT NULL', tenant)
      .map(({ pack }) => pack),
  ),
} satisfies Partial<Operations>
