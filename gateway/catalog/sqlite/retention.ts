// Retention in the catalog: policies, groups, holds, locks, and the removal of restore points.
import { REMOVED_POINTS_MAX, type LeftPoint, type PolicyRow, type Removal, type RetentionPoint } from '../retention.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { GROUP_NONE, POLICIES_MAX, type KeepReason, type Retention } from '../../../protocol/retention.ts'
import { andElse, meant } from '../../common/meant.ts'
import type { Policy } from '../../../protocol/schemas.ts'
import { appendAudit } from './audit.ts'
import { machineByName } from './machines.ts'
import { forgetMissed } from './missed.ts'
import { aside, write, type Operations } from './operation.ts'
import { withFlags, type Flagged } from './flags.ts'
import type { Sql } from './sql.ts'
import { tenantUuid, type Rowed } from './tenant-row.ts'

/** True where there is something to restore: not of a point of an older program that has no disks. */
const HAS_BYTES =
  'EXISTS (SELECT 1 FROM image WHERE image.point = point.id AND image.attachment = 0 AND image.size > 0)'

const POINT = `SELECT point.id, machine.name AS machine, time_ms AS timeMs, seq, held, locked_ms AS lockedUntilMs,
  EXISTS (SELECT 1 FROM lost WHERE lost.point = point.id) AS damaged, point.checkpoint,
  NOT ${HAS_BYTES} AS empty,
  point.id IN (SELECT base FROM job INDEXED BY job_open WHERE ended_ms IS NULL AND base IS NOT NULL) AS inUse
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
     AND ${condition} AND ${HAS_BYTES} AND time_ms <= ? ORDER BY seq DESC, time_ms DESC, id DESC LIMIT 1`,
    id,
    nowMs,
  )?.id === id

const reasonToKeep = (sql: Sql, point: RetentionPoint, { named, nowMs }: Rowed<Removal>): KeepReason | null => {
  if (point.held) return 'held'
  if ((point.lockedUntilMs ?? 0) > nowMs) return 'locked'
  if (point.inUse) return 'in-use'
  if (named) return null
  if (point.timeMs > nowMs) return 'future'
  if (isNewest(sql, point.id, nowMs, NOT_DAMAGED)) return 'last-good'
  const continued = point.checkpoint && isNewest(sql, point.id, nowMs, 'checkpoint = 1')
  return continued && !isNewest(sql, point.id, nowMs) ? 'next-base' : null
}

/** Why a point that a person named is not removed, in words. */
const refusal = ({ id, lockedUntilMs }: RetentionPoint, reason: KeepReason): VarveError => {
  const words: Partial<Record<KeepReason, string>> = {
    held: 'is held; release it first',
    locked: `is locked until ${new Date(lockedUntilMs ?? 0).toISOString()}; nobody can remove it before`,
    'in-use': 'is the base of a backup that is running',
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
    sql.run('DELETE FROM point WHERE id = ?', id)
    removed++
    const { machine, timeMs } = point
    const about = { action: 'points.remove', resource: `point=${id}`, outcome: 'ok', details: { machine, timeMs } }
    appendAudit(sql, { timeMs: nowMs, tenant: tenantUuid(sql, tenant), subject: by.subject, role: by.role, ...about })
  }
  return { removed, left }
}

const checkGroup = (group: string | null): void => {
  if (group === GROUP_NONE)
    throw new VarveError('PARAMS_INVALID', `no group is called "${GROUP_NONE}": the word means no group`)
}

/** The groups of a tenant: those that a machine is in, and those that have rules. */
const groupsOf = (sql: Sql, tenant: number): string[] =>
  sql
    .all<{ name: string }>(
      `SELECT member_of AS name FROM machine WHERE tenant = ?1 AND member_of IS NOT NULL
       UNION SELECT name FROM retention WHERE tenant = ?1 AND scope = 'group' ORDER BY 1`,
      tenant,
    )
    .map(({ name }) => name)

/** NOT_FOUND, with the groups that may be meant, for a group that no machine is in and that has no rules. */
const requireGroup = (sql: Sql, tenant: number, group: string, way: string | null = null): void => {
  const groups = groupsOf(sql, tenant)
  if (groups.includes(group)) return
  const sentence = `no machine is in a group "${group}"${meant(group, groups)}`
  throw new VarveError('NOT_FOUND', way === null ? sentence : andElse(sentence, way))
}

/** The way out where rules are set before the first machine joins. */
const NEW_GROUP_WAY = 'for rules before the first machine joins it, say that the group is new (--new-group)'

const policyRow = ({ rules, ...policy }: Omit<PolicyRow, 'rules'> & { rules: string }): PolicyRow => ({
  ...policy,
  rules: JSON.parse(rules) as Retention,
})

export const retentionOperations = {
  // a write without a change must not touch the row, or the tenant's state would be written again
  'retention.set': write((sql, { tenant, scope, name, rules, newGroup = true }) => {
    if (scope === 'machine') machineByName(sql, tenant, name)
    if (scope === 'group') {
      checkGroup(name)
      if (rules === null || !newGroup) requireGroup(sql, tenant, name, rules === null ? null : NEW_GROUP_WAY)
    }
    if (rules === null)
      sql.run('DELETE FROM retention WHERE tenant = ? AND scope = ? AND name = ?', tenant, scope, name)
    else {
      const { count } = sql.get<{ count: number }>(
        'SELECT count(*) AS count FROM retention WHERE tenant = ? AND NOT (scope = ? AND name = ?)',
        tenant,
        scope,
        name,
      )!
      if (count >= POLICIES_MAX)
        throw new VarveError('LIMIT_REACHED', `a tenant has at most ${POLICIES_MAX} policies of retention`)
      sql.run(
        `INSERT INTO retention (tenant, scope, name, rules) VALUES (?, ?, ?, ?)
           ON CONFLICT DO UPDATE SET rules = excluded.rules WHERE rules <> excluded.rules`,
        tenant,
        scope,
        name,
        JSON.stringify(rules),
      )
    }
  }),

  'retention.list': aside((sql, { tenant, after, limit }) =>
    sql
      .all<Parameters<typeof policyRow>[0]>(
        `SELECT scope, name, rules FROM retention WHERE tenant = ?1 AND (?2 IS NULL OR scope < ?2 OR (scope = ?2 AND name > ?3))
       ORDER BY scope DESC, name LIMIT ?4`,
        tenant,
        after?.scope ?? null,
        after?.name ?? '',
        limit,
      )
      .map(policyRow),
  ),

  'retention.get': aside((sql, { tenant, scope, name }) => {
    if (scope === 'machine') machineByName(sql, tenant, name)
    if (scope === 'group') requireGroup(sql, tenant, name)
    const own = 'SELECT scope, name, rules FROM retention WHERE tenant = ? AND scope = ? AND name = ?'
    return sql.all<Parameters<typeof policyRow>[0]>(own, tenant, scope, name).map(policyRow)[0] ?? null
  }),

  'retention.of': aside((sql, { tenant, machine }) => {
    const row = sql.get<{ rules: string }>(
      `SELECT rules FROM retention JOIN machine ON machine.tenant = retention.tenant
       WHERE retention.tenant = ? AND machine.name = ? AND (scope = 'tenant'
         OR (scope = 'machine' AND retention.name = machine.name) OR (scope = 'group' AND retention.name = member_of))
       ORDER BY CASE scope WHEN 'machine' THEN 0 WHEN 'group' THEN 1 ELSE 2 END LIMIT 1`,
      tenant,
      machine,
    )
    return row === undefined ? null : (JSON.parse(row.rules) as Retention)
  }),

  'machines.configure': write((sql, args) => {
    const { tenant, name, policy: changes = {}, group } = args
    const machine = machineByName(sql, tenant, name)
    const changed = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined))
    const policy: Policy = { ...machine.policy, ...changed }
    const text = JSON.stringify(policy)
    if (text !== JSON.stringify(machine.policy))
      sql.run('UPDATE machine SET policy = ? WHERE id = ?', text, machine.row)
    if (group === undefined) return { policy, group: machine.group, newGroup: false }
    checkGroup(group)
    const newGroup = group !== null && !groupsOf(sql, tenant).includes(group)
    sql.run('UPDATE machine SET member_of = ? WHERE id = ? AND member_of IS NOT ?', group, machine.row, group)
    return { policy, group, newGroup }
  }),

  'machines.members': aside((sql, { tenant, group }) => {
    const rows = sql.all<{ name: string }>(
      'SELECT name FROM machine WHERE tenant = ? AND (? IS NULL OR member_of = ?) ORDER BY name',
      tenant,
      group,
      group,
    )
    if (group !== null && rows.length === 0) {
      requireGroup(sql, tenant, group)
      throw new VarveError('NOT_FOUND', `no machine is in the group "${group}" yet; it has rules only`)
    }
    return rows.map(({ name }) => name)
  }),

  'retention.points': aside((sql, { tenant, machine }) => {
    const { row: id } = machineByName(sql, tenant, machine)
    return sql
      .all<Flagged<RetentionPoint>>(
        `${POINT} WHERE point.machine = ? ORDER BY seq DESC, time_ms DESC, point.id DESC`,
        id,
      )
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
