// Uses of restore points: begun, renewed and ended by who reads them, and over by themselves.
import { VarveError } from '../../../protocol/errors.ts'
import { POINT_USES_MAX, POINT_USES_OF_ONE_MAX } from '../../../protocol/limits.ts'
import type { PointUse } from '../points.ts'
import { write, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'
import type { Rowed } from './tenant-row.ts'

/** A column: until when somebody uses the point, which may have passed; null where nobody has. */
export const USED_UNTIL = '(SELECT max(until_ms) FROM point_use WHERE point_use.point = point.id) AS usedUntilMs'

/** Of a revoked agent, which cannot renew them. */
export const endUsesOf = (sql: Sql, agent: string): void => void sql.run('DELETE FROM point_use WHERE agent = ?', agent)

/** Of a point that is gone. */
export const forgetUses = (sql: Sql, point: string): void =>
  void sql.run('DELETE FROM point_use WHERE point = ?', point)

const countOf = (sql: Sql, tenant: number, user: string): { readonly all: number; readonly own: number } =>
  sql.get<{ all: number; own: number }>(
    'SELECT count(*) AS "all", coalesce(sum(user = ?), 0) AS own FROM point_use WHERE tenant = ?',
    user,
    tenant,
  )!

const use = (sql: Sql, { tenant, use: id, user, agent, point, untilMs, nowMs }: Rowed<PointUse>): void => {
  sql.run('DELETE FROM point_use WHERE tenant = ? AND until_ms <= ?', tenant, nowMs)
  sql.run('DELETE FROM point_use WHERE id = ? AND user = ? AND tenant = ?', id, user, tenant)
  if (untilMs <= nowMs) return
  const { all, own } = countOf(sql, tenant, user)
  if (own >= POINT_USES_OF_ONE_MAX || all >= POINT_USES_MAX)
    throw new VarveError(
      'LIMIT_REACHED',
      `${own} restore points are in use by this caller and ${all} in this tenant already: end one, or hold the point`,
    )
  const added = sql.run(
    `INSERT INTO point_use (id, user, tenant, point, agent, until_ms)
     SELECT ?, ?, tenant, id, ?, ? FROM point WHERE id = ? AND tenant = ?`,
    id,
    user,
    agent,
    untilMs,
    point,
    tenant,
  )
  // it was removed meanwhile
  if (added === 0) throw new VarveError('NOT_FOUND', `there is no restore point ${point}`)
}

export const useOperations = { 'points.use': write(use) } satisfies Partial<Operations>
