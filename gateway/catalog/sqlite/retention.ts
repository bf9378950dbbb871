// Retention in the catalog: holds, locks, and the removal of restore points.
import { REMOVED_POINTS_MAX, type LeftPoint, type Removal, type RetentionPoint } from '../retention.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { KeepReason } from '../../../protocol/retention.ts'
import { appendAudit } from './audit.ts'
import { forgetDrills } from './drills.ts'
import { machineByName } from './machines.ts'
import { forgetMissed } from './missed.ts'
import { aside, write, type Operations } from './operation.ts'
import { withFlags, type Flagged } from './flags.ts'
import { LAST_CREATED } from './points.ts'
import type { Sql } from './sql.ts'
import { tenantUuid, type Rowed } from './tenant-row.ts'
import { forgetUses, USED_UNTIL } from './uses.ts'

/** True where there is something to restore: a disk with a byte. */
const HAS_BYTES =
  'EXISTS (SELECT 1 FROM image WHERE image.point = point.id AND image.attachment = 0 AND image.size > 0)'

const POINT = `SELECT point.id, machine.name AS machine, time_ms AS timeMs, seq, held, locked_ms AS lockedUntilMs,
  EXISTS (SELECT 1 FROM lost WHERE lost.point = point.id) AS damaged, point.checkpoint,
  NOT ${HAS_BYTES} AS empty,
  point.id IN (SELECT base FROM job INDEXED BY job_open WHERE ended_ms IS NULL AND base IS NOT NULL)
    OR point.id IN (SELECT point FROM restore INDEXED BY restore_open WHERE ended_ms IS NULL) AS inUse, ${USED_UNTIL}
  FROM point JOIN machine ON machine.id = point.machine`

const retentionPoint = withFlags<RetentionPoint>('held', 'damaged', 'checkpoint', 'empty', 'inUse')

const findPoint = (sql: Sql, tenant: number, id: string): RetentionPoint | undefined =>
  sql
    .all<Flagged<RetentionPoint>>(`${POINT} WHERE point.id = ? AND point.tenant = ?`, id, tenant)
    .map(retentionPoint)[0]

const pointOf = (sql: Sql, tenant: number, id: string): RetentionPoint => {
  const point = findPoint(sql, tenant, id)
  if (point === undefined) throw new VarveError('NOT_FOUND', `there is no restore point ${id}`)
  return point
}

const NOT_DAMAGED = 'NOT EXISTS (SELECT 1 FROM lost WHERE lost.point = point.id)'

/** As the plan has it: whether a point is its machine's newest of those that are not from the future and for which this holds. */
const isNewest = (sql: Sql, id: string, nowMs: number, condition = 'true'): boolean =>
  sql.get<{ id: string }>(
    `SELECT id FROM point WHERE machine = (SELECT machine FROM point WHERE id = ?)
     AND ${condition} AND ${HAS_BYTES} AND time_ms <= ? ORDER BY seq DESC LIMIT 1`,
    id,
    nowMs,
  )?.id === id

const reasonToKeep = (sql: Sql, point: RetentionPoint, { named, nowMs }: Rowed<Removal>): KeepReason | null => {
  if (point.held) return 'held'
  if ((point.lockedUntilMs ?? 0) > nowMs) return 'locked'
  if (point.inUse || (point.usedUntilMs ?? 0) > nowMs) return 'in-use'
  if (named) return null
  if (point.timeMs > nowMs) return 'future'
  if (isNewest(sql, point.id, nowMs, NOT_DAMAGED)) return 'last-good'
  const continued = point.checkpoint && isNewest(sql, point.id, nowMs, 'checkpoint = 1')
  return continued && !isNewest(sql, point.id, nowMs) ? 'next-base' : null
}

/** Why a point that a person named is not removed, in words. */
const refusal = ({ id, lockedUntilMs, inUse, usedUntilMs }: RetentionPoint, reason: KeepReason): VarveError => {
  const words: Partial<Record<KeepReason, string>> = {
    held: 'is held; release it first',
    locked: `is locked until ${new Date(lockedUntilMs ?? 0).toISOString()}; nobody can remove it before`,
    'in-use': inUse
      ? 'is the base of a backup that is running, or is being restored'
      : `is in use, as by a machine that runs from it, until ${new Date(usedUntilMs ?? 0).toISOString()} or before: "varve-agent instant status" on its host says more`,
  }
  return new VarveError('POINT_HELD', `restore point ${id} ${words[reason] ?? `is kept: ${reason}`}`, {
    details: { point: id, reason },
  })
}

const removePoints = (sql: Sql, removal: Rowed<Removal>): { removed: number; left: LeftPoint[] } => {
  const { tenant, points, named, nowMs, by } = removal
  if (points.length > REMOVED_POINTS_MAX)
    throw new VarveError('LIMIT_REACHED', `at most ${REMOVED_POINTS_MAX} points are removed at once`)
  const left: LeftPoint[] = []
  let removed = 0
  for (const id of points) {
    const point = named ? pointOf(sql, tenant, id) : findPoint(sql, tenant, id)
    // somebody else's plan may have removed it
    if (point === undefined) continue
    const reason = reasonToKeep(sql, point, removal)
    if (reason !== null) {
      if (named) throw refusal(point, reason)
      left.push({ id, reason })
      continue
    }
    sql.run('DELETE FROM lost WHERE point = ?', id)
    sql.run('DELETE FROM image WHERE point = ?', id)
    forgetMissed(sql, tenant, id)
    forgetDrills(sql, { tenant, point, nowMs })
    forgetUses(sql, id)
    sql.run('DELETE FROM point WHERE id = ?', id)
    removed++
    const { machine, timeMs } = point
    const about = { action: 'points.remove', resource: `point=${id}`, outcome: 'ok', details: { machine, timeMs } }
    appendAudit(sql, { timeMs: nowMs, tenant: tenantUuid(sql, tenant), subject: by.subject, role: by.role, ...about })
  }
  return { removed, left }
}

export const retentionOperations = {
  'retention.points': aside((sql, { tenant, machine }) => {
    const { row: id } = machineByName(sql, tenant, machine)
    return sql
      .all<Flagged<RetentionPoint>>(`${POINT} WHERE point.machine = ? ORDER BY ${LAST_CREATED}`, id)
      .map(retentionPoint)
  }),

  'retention.point': aside((sql, { tenant, id }) => pointOf(sql, tenant, id)),

  'points.hold': write((sql, { tenant, id, held }) => {
    pointOf(sql, tenant, id)
    sql.run('UPDATE point SET held = ? WHERE id = ? AND held <> ?', held ? 1 : 0, id, held ? 1 : 0)
  }),

  'points.lock': write((sql, { tenant, id, untilMs }) => {
    const { lockedUntilMs } = pointOf(sql, tenant, id)
    if (lockedUntilMs !== null && untilMs <= lockedUntilMs)
      throw new VarveError(
        'POINT_HELD',
        `restore point ${id} is locked until ${new Date(lockedUntilMs).toISOString()}; a lock can only be made longer`,
        { details: { point: id, reason: 'locked' } },
      )
    sql.run('UPDATE point SET locked_ms = ? WHERE id = ?', untilMs, id)
  }),

  'points.remove': write(removePoints),
} satisfies Partial<Operations>
