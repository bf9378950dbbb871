// Drills in the catalog: kept within bounds, told as a condition of their machine, and removed with their point.
import type { Drill, DrillOutcome } from '../../../protocol/drills.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { DRILLS_KEPT_MAX } from '../../../protocol/limits.ts'
import {
  DRILLS_TENANT_BYTES_MAX,
  DRILLS_TENANT_MAX,
  type DrillRow,
  type DrillsAsked,
  type NewDrill,
} from '../drills.ts'
import { changeCondition } from './conditions.ts'
import { aside, write, type Operations } from './operation.ts'
import type { Sql, SqlValue } from './sql.ts'
import { tenantUuid, type Rowed } from './tenant-row.ts'

/** The newest drill of a row of `point`, as JSON; null where it has none. */
export const NEWEST_DRILL = `(SELECT json_object('id', drill.id, 'verdict', drill.verdict, 'addedMs', drill.added_ms)
  FROM drill INDEXED BY drill_point WHERE drill.point = point.id ORDER BY drill.seq DESC LIMIT 1)`

const COLUMNS = `drill.id, drill.seq, drill.point, machine.name AS machine, point.time_ms AS timeMs, drill.subject AS "by",
  drill.added_ms AS addedMs, drill.outcome, length(drill.picture) AS pictureBytes, length(drill.log) AS logChars`

const FROM = 'FROM drill JOIN point ON point.id = drill.point JOIN machine ON machine.id = point.machine'

type Found = Omit<DrillRow, keyof DrillOutcome> & { readonly outcome: string }

const shown = <F extends Found>({ outcome, ...found }: F): Omit<F, 'outcome'> & DrillOutcome => ({
  ...found,
  ...(JSON.parse(outcome) as DrillOutcome),
})

/** What of the oldest does not fit any more. */
const trim = (sql: Sql, tenant: number, point: string): void => {
  sql.run(
    `DELETE FROM drill WHERE point = ?1 AND seq <=
       (SELECT seq FROM drill WHERE point = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ${DRILLS_KEPT_MAX})`,
    point,
  )
  sql.run(
    `DELETE FROM drill WHERE tenant = ?1 AND seq <=
       (SELECT seq FROM drill WHERE tenant = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ${DRILLS_TENANT_MAX})`,
    tenant,
  )
  sql.run(
    `UPDATE drill SET log = '', picture = NULL, bytes = 0 WHERE tenant = ?1 AND bytes > 0 AND seq IN
       (SELECT seq FROM (SELECT seq, sum(bytes) OVER (ORDER BY seq DESC) AS sum FROM drill WHERE tenant = ?1)
        WHERE sum > ${DRILLS_TENANT_BYTES_MAX})`,
    tenant,
  )
}

const keyOf = (machine: string): string => `drill.failed ${machine}`

/** Tells where the machine's last drill failed, and where it is good again. */
const tell = (sql: Sql, { tenant, point, id, nowMs, outcome }: Rowed<NewDrill>): void => {
  const found = sql.get<{ machine: string; timeMs: number }>(
    `SELECT machine.name AS machine, time_ms AS timeMs FROM point JOIN machine ON machine.id = point.machine
     WHERE point.id = ?`,
    point,
  )!
  const { machine, timeMs } = found
  const about = { tenant: tenantUuid(sql, tenant), kind: 'drill.failed', key: keyOf(machine), machine } as const
  const data = { drill: id, point, host: outcome.host, check: outcome.check }
  const what = `a drill of ${machine} as of ${new Date(timeMs).toISOString()}`
  if (outcome.verdict === 'passed')
    changeCondition(sql, { ...about, holds: false, text: `${what} passed: ${outcome.reason}`, data }, nowMs)
  else {
    const text = `${what} failed: ${outcome.reason}; look at its log and picture, and try an older point`
    changeCondition(sql, { ...about, holds: true, severity: 'error', value: 'failed', text, data }, nowMs)
  }
}

const add = (sql: Sql, drill: Rowed<NewDrill>): boolean => {
  const { id, tenant, point, subject, outcome, log, picture, nowMs } = drill
  const there = sql.get<{ point: string; tenant: number }>('SELECT point, tenant FROM drill WHERE id = ?', id)
  if (there !== undefined) {
    if (there.tenant === tenant && there.point === point) return false
    throw new VarveError('EXISTS', `there is a drill ${id} already`)
  }
  const bytes = Buffer.byteLength(log) + (picture?.length ?? 0)
  const added = sql.run(
    `INSERT INTO drill (id, tenant, seq, point, subject, added_ms, verdict, bytes, outcome, log, picture)
     SELECT ?1, ?2, (SELECT coalesce(max(seq), 0) + 1 FROM drill WHERE tenant = ?2), point.id, ?3, ?4, ?5, ?6, ?7, ?8, ?9
     FROM point WHERE point.id = ?10 AND point.tenant = ?2`,
    id,
    tenant,
    subject,
    nowMs,
    outcome.verdict,
    bytes,
    JSON.stringify(outcome),
    log,
    picture,
    point,
  )
  if (added === 0) throw new VarveError('NOT_FOUND', `there is no restore point ${point}`)
  trim(sql, tenant, point)
  tell(sql, drill)
  return true
}

/** Those of a point that is removed; a machine that has no other one has none that failed. */
export const forgetDrills = (
  sql: Sql,
  { tenant, point: { id, machine }, nowMs }: { tenant: number; point: { id: string; machine: string }; nowMs: number },
): void => {
  if (sql.run('DELETE FROM drill WHERE point = ?', id) === 0) return
  const other = sql.get(
    `SELECT 1 FROM machine JOIN point ON point.machine = machine.id JOIN drill ON drill.point = point.id
     WHERE machine.tenant = ? AND machine.name = ? LIMIT 1`,
    tenant,
    machine,
  )
  if (other !== undefined) return
  const about = { tenant: tenantUuid(sql, tenant), kind: 'drill.failed', key: keyOf(machine), machine } as const
  const text = `the restore points of ${machine} of which there were drills are removed`
  changeCondition(sql, { ...about, holds: false, text, data: {} }, nowMs)
}

/** The parts of a statement that narrow it, with their values. */
const narrowed = (asked: Rowed<DrillsAsked>): [string, SqlValue[]] => {
  const { tenant, agent, machine, point, before } = asked
  const parts = [
    ['drill.tenant = ?', tenant],
    ['machine.agent = ?', agent],
    ['machine.name = ?', machine],
    ['drill.point = ?', point],
    ['drill.seq < ?', before],
  ] as const
  const given = parts.filter(([, value]) => value !== null)
  return [given.map(([condition]) => condition).join(' AND '), given.map(([, value]) => value)]
}

export const drillOperations = {
  'drills.add': write(add),

  'drills.list': aside((sql, asked) => {
    const [where, values] = narrowed(asked)
    return sql
      .all<Found & object>(
        `SELECT ${COLUMNS} ${FROM} WHERE ${where} ORDER BY drill.seq DESC LIMIT ?`,
        ...values,
        asked.limit,
      )
      .map(shown)
  }),

  'drills.get': aside((sql, { tenant, agent, id }) => {
    const found = sql.get<Found & { readonly log: string; readonly picture: Uint8Array | null }>(
      `SELECT ${COLUMNS}, drill.log, drill.picture ${FROM} WHERE drill.id = ?1 AND drill.tenant = ?2
       AND (?3 IS NULL OR machine.agent = ?3)`,
      id,
      tenant,
      agent,
    )
    if (found === undefined) throw new VarveError('NOT_FOUND', `there is no drill ${id}`)
    const { log, picture, seq: _, ...drill } = shown(found)
    return { drill: drill satisfies Drill, log, picture }
  }),
} satisfies Partial<Operations>
