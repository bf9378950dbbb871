// Retention in the catalog: policies, groups, holds, locks, and the removal of restore points.
import { VarveError } from '../../../protocol/errors.ts'
import { GROUP_NONE, POLICIES_MAX, type KeepReason, type RetentionScope } from '../../../protocol/retention.ts'
import { andElse, meant } from '../../common/meant.ts'
import { appendAudit } from './audit.ts'
import type { Actor } from './identities.ts'
import { machineByName } from './machines.ts'
import { PAGE_ROWS_MAX } from '../../../protocol/limits.ts'
import { aside, write } from './operation.ts'
import type { Sql } from './sql.ts'

/** Most points that one removal takes, which is what a person may name: it is one transaction, and others wait for it. */
export const REMOVED_POINTS_MAX = PAGE_ROWS_MAX

export interface PolicyRow {
  readonly scope: RetentionScope
  /** Of the group or machine; empty for the tenant. */
  readonly name: string
  /** JSON of a Retention. */
  readonly rules: string
}

/** A point as retention looks at it; flags are 0 or 1. */
export interface RetentionPoint {
  readonly id: string
  readonly machine: string
  readonly timeMs: number
  readonly seq: number
  readonly held: number
  readonly lockedUntilMs: number | null
  readonly damaged: number
  readonly empty: number
  readonly inUse: number
}

/** A point that a removal left where it is. */
export interface LeftPoint {
  readonly id: string
  readonly reason: KeepReason
}

/** True where there is something to restore: not of a point of an older program that has no disks. */
const HAS_BYTES = 'EXISTS (SELECT 1 FROM image WHERE image.point = point.id AND image.size > 0)'

const POINT = `SELECT point.id, machine.name AS machine, time_ms AS timeMs, seq, held, locked_ms AS lockedUntilMs,
  EXISTS (SELECT 1 FROM lost WHERE lost.point = point.id) AS damaged,
  NOT ${HAS_BYTES} AS empty,
  point.id IN (SELECT base FROM job INDEXED BY job_open WHERE ended_ms IS NULL AND base IS NOT NULL) AS inUse
  FROM point JOIN machine ON machine.id = point.machine`

const findPoint = (sql: Sql, tenant: number, id: string): RetentionPoint | undefined =>
  sql.get<RetentionPoint>(`${POINT} WHERE point.id = ? AND point.tenant = ?`, id, tenant)

const pointOf = (sql: Sql, tenant: number, id: string): RetentionPoint => {
  const point = findPoint(sql, tenant, id)
  if (point === undefined) throw new VarveError('NOT_FOUND', `there is no restore point ${id}`)
  return point
}

/** As the plan has it: of the points that are not from the future. */
const isLastGood = (sql: Sql, id: string, nowMs: number): boolean =>
  sql.get<{ id: string }>(
    `SELECT id FROM point WHERE machine = (SELECT machine FROM point WHERE id = ?)
     AND NOT EXISTS (SELECT 1 FROM lost WHERE lost.point = point.id) AND ${HAS_BYTES} AND time_ms <= ?
     ORDER BY seq DESC, time_ms DESC, id DESC LIMIT 1`,
    id,
    nowMs,
  )?.id === id

export interface Removal {
  readonly tenant: number
  readonly points: readonly string[]
  /** A person named these points: then the last good one of a machine may go too, and one that may not go is an error. */
  readonly named: boolean
  readonly nowMs: number
  readonly by: Actor
}

const reasonToKeep = (sql: Sql, point: RetentionPoint, { named, nowMs }: Removal): KeepReason | null => {
  if (point.held === 1) return 'held'
  if ((point.lockedUntilMs ?? 0) > nowMs) return 'locked'
  if (point.inUse === 1) return 'in-use'
  if (named) return null
  if (point.timeMs > nowMs) return 'future'
  return isLastGood(sql, point.id, nowMs) ? 'last-good' : null
}

/** Why a point that a person named does not go, in words. */
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

const removePoints = (sql: Sql, removal: Removal): { removed: number; left: LeftPoint[] } => {
  const { tenant, points, named, nowMs, by } = removal
  if (points.length > REMOVED_POINTS_MAX)
    throw new VarveError('TOO_MANY_REQUESTS', `at most ${REMOVED_POINTS_MAX} points are removed at once`)
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
    sql.run('DELETE FROM point WHERE id = ?', id)
    removed++
    const { machine, timeMs } = point
    const about = { action: 'point.remove', resource: `point=${id}`, outcome: 'ok', details: { machine, timeMs } }
    appendAudit(sql, { timeMs: nowMs, tenant, subject: by.subject, role: by.role, ...about })
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

export interface RulesChange {
  readonly tenant: number
  readonly scope: RetentionScope
  readonly name: string
  readonly rules: string | null
  /** False where a group is meant to be there already. */
  readonly newGroup?: boolean
}

export const retentionOperations = {
  // a write that changes nothing leaves the row alone: the tenant's state would be written again for it
  /** Sets the rules of a tenant, a group or a machine, or with null removes them; NOT_FOUND for a machine, or an old group, that is not there, PARAMS_INVALID for GROUP_NONE, TOO_MANY_REQUESTS past POLICIES_MAX. */
  'retention.set': write((sql: Sql, { tenant, scope, name, rules, newGroup = true }: RulesChange): void => {
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
        throw new VarveError('TOO_MANY_REQUESTS', `a tenant has at most ${POLICIES_MAX} policies of retention`)
      sql.run(
        `INSERT INTO retention (tenant, scope, name, rules) VALUES (?, ?, ?, ?)
           ON CONFLICT DO UPDATE SET rules = excluded.rules WHERE rules <> excluded.rules`,
        tenant,
        scope,
        name,
        rules,
      )
    }
  }),

  'retention.list': aside((sql: Sql, { tenant }: { tenant: number }): PolicyRow[] =>
    sql.all<PolicyRow>('SELECT scope, name, rules FROM retention WHERE tenant = ? ORDER BY scope DESC, name', tenant),
  ),

  /** Rules (JSON) of the nearest policy: the machine's own, else its group's, else the tenant's, else null. */
  'retention.of': aside((sql: Sql, { tenant, machine }: { tenant: number; machine: string }): string | null => {
    const row = sql.get<{ rules: string }>(
      `SELECT rules FROM retention JOIN machine ON machine.tenant = retention.tenant
       WHERE retention.tenant = ? AND machine.name = ? AND (scope = 'tenant'
         OR (scope = 'machine' AND retention.name = machine.name) OR (scope = 'group' AND retention.name = member_of))
       ORDER BY CASE scope WHEN 'machine' THEN 0 WHEN 'group' THEN 1 ELSE 2 END LIMIT 1`,
      tenant,
      machine,
    )
    return row?.rules ?? null
  }),

  /** Whether a group is there, so that its rules can be shown; NOT_FOUND. */
  'groups.require': aside((sql: Sql, { tenant, group }: { tenant: number; group: string }): void =>
    requireGroup(sql, tenant, group),
  ),

  'groups.list': aside((sql: Sql, { tenant }: { tenant: number }): string[] => groupsOf(sql, tenant)),

  /** Puts a machine into a group, or with null out of any; NOT_FOUND, PARAMS_INVALID. */
  'machines.setGroup': write((sql: Sql, args: { tenant: number; name: string; group: string | null }): void => {
    const { id } = machineByName(sql, args.tenant, args.name)
    checkGroup(args.group)
    sql.run('UPDATE machine SET member_of = ? WHERE id = ? AND member_of IS NOT ?', args.group, id, args.group)
  }),

  /** Names of the machines of a group, or of all for null; NOT_FOUND for a group without any. */
  'machines.members': aside((sql: Sql, { tenant, group }: { tenant: number; group: string | null }): string[] => {
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

  /** All points of one machine, the one created last first; NOT_FOUND. */
  'retention.points': aside((sql: Sql, { tenant, machine }: { tenant: number; machine: string }): RetentionPoint[] => {
    const { id } = machineByName(sql, tenant, machine)
    return sql.all<RetentionPoint>(
      `${POINT} WHERE point.machine = ? ORDER BY seq DESC, time_ms DESC, point.id DESC`,
      id,
    )
  }),

  'retention.point': aside((sql: Sql, { tenant, id }: { tenant: number; id: string }): RetentionPoint =>
    pointOf(sql, tenant, id),
  ),

  /** Holds a point until it is released, or releases it; NOT_FOUND. */
  'points.hold': write((sql: Sql, { tenant, id, held }: { tenant: number; id: string; held: boolean }): void => {
    pointOf(sql, tenant, id)
    sql.run('UPDATE point SET held = ? WHERE id = ? AND held <> ?', held ? 1 : 0, id, held ? 1 : 0)
  }),

  /** Locks a point until a later time than it is locked now; nothing makes a lock shorter. NOT_FOUND, POINT_HELD. */
  'points.lock': write((sql: Sql, { tenant, id, untilMs }: { tenant: number; id: string; untilMs: number }): void => {
    const { lockedUntilMs } = pointOf(sql, tenant, id)
    if (lockedUntilMs !== null && untilMs <= lockedUntilMs)
      throw new VarveError(
        'POINT_HELD',
        `restore point ${id} is locked until ${new Date(lockedUntilMs).toISOString()}; a lock can only be made longer`,
        { details: { point: id, reason: 'locked' } },
      )
    sql.run('UPDATE point SET locked_ms = ? WHERE id = ?', untilMs, id)
  }),

  /**
   * Removes points, all in one transaction that looks again whether they may go; those that may not are left and named, or, where a person
   * named the points, nothing is removed: POINT_HELD. NOT_FOUND, TOO_MANY_REQUESTS past REMOVED_POINTS_MAX. What they stored goes with a collection.
   */
  'points.remove': write(removePoints),
}
