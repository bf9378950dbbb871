// The facts of machines from which their states follow: each is one step along an index, whatever a machine has behind it.
import type { Plan } from '../../../protocol/plans.ts'
import {
  CHANGED_MAX,
  COVERAGE_PAGE_MAX,
  type CoverageAsked,
  type CoverageMark,
  type CoverageRow,
  type Failure,
  type LastPoint,
  type PlanTiming,
} from '../coverage.ts'
import type { JobFailure } from '../jobs.ts'
import { aside, type Operations } from './operation.ts'
import { coveringIn } from './plans.ts'
import { LAST_CREATED } from './points.ts'
import type { Sql } from './sql.ts'
import type { Rowed } from './tenant-row.ts'

/** Jobs that say how backups go: one that a person cancelled says nothing. */
const TELLING = "(job.state = 'committed' OR (job.state = 'failed' AND job.error ->> 'code' <> 'CANCELLED'))"

/** Runs of backups whose last start failed, and that did not succeed since; nor here what a person cancelled. */
const FAILED_RUN = `kind = 'backup' AND error IS NOT NULL AND state IN ('due', 'running', 'failed')
  AND error ->> 'code' <> 'CANCELLED'`

const FACTS = `SELECT machine.name, machine.member_of AS "group", machine.agent, agent.host, agent.revoked_ms AS revokedMs,
  coalesce(agent.seen_ms, agent.enrolled_ms) AS seenMs, absent.since_ms AS goneMs, machine.created_ms AS createdMs,
  exclusion.subject AS excludedBy, exclusion.reason AS exclusionReason, exclusion.since_ms AS excludedMs, exclusion.until_ms AS untilMs,
  point.id AS pointId, point.time_ms AS pointMs, point.committed_ms AS committedMs, point.kind AS pointKind, point.reason AS pointReason,
  point.consistency, point.bytes_read AS bytesRead, point.bytes_sent AS bytesSent, point.duration_ms AS durationMs,
  (SELECT min(time_ms) FROM point WHERE point.machine = machine.id) AS firstPointMs,
  (SELECT max(verified_ms) FROM point WHERE point.machine = machine.id) AS lastVerifiedMs,
  CASE WHEN last.seq > ifnull(point.seq, -1) AND last.state = 'failed' THEN last.error END AS jobError, last.ended_ms AS jobEndedMs,
  CASE WHEN last.seq > ifnull(point.seq, -1) AND last.state = 'failed' THEN (SELECT ended_ms FROM job WHERE job.machine = machine.id
    AND job.seq > ifnull(point.seq, -1) AND ${TELLING} ORDER BY job.seq LIMIT 1) END AS jobsFailMs,
  run.error AS runError, run.state AS runState, run.next_ms AS retryMs, coalesce(run.ended_ms, run.started_ms, run.due_ms) AS runFailedMs,
  CASE WHEN run.id IS NOT NULL THEN (SELECT min(due_ms) FROM run WHERE run.machine = machine.id AND ${FAILED_RUN}
    AND due_ms > ifnull(point.committed_ms, 0)) END AS runsFailMs,
  CASE WHEN open.state = 'due' THEN coalesce(open.next_ms, open.due_ms) END AS dueMs,
  open.state = 'running' AND open.job = last.id AS unsettled,
  pace.plan AS pacePlan, pace.since_ms AS paceMs, pace.timing AS paceTiming
  FROM machine JOIN agent ON agent.id = machine.agent LEFT JOIN absent ON absent.machine = machine.id
  LEFT JOIN pace ON pace.machine = machine.id
  LEFT JOIN exclusion ON exclusion.tenant = machine.tenant AND exclusion.machine = machine.name
  LEFT JOIN point ON point.id = (SELECT point.id FROM point WHERE point.machine = machine.id ORDER BY ${LAST_CREATED} LIMIT 1)
  LEFT JOIN job AS last ON last.rowid = (SELECT job.rowid FROM job WHERE job.machine = machine.id AND ${TELLING}
    ORDER BY job.seq DESC LIMIT 1)
  LEFT JOIN run ON run.id = (SELECT id FROM run WHERE run.machine = machine.id AND ${FAILED_RUN} ORDER BY due_ms DESC LIMIT 1)
  LEFT JOIN run AS open ON open.id = (SELECT id FROM run WHERE run.machine = machine.id AND kind = 'backup'
    AND state IN ('due', 'running') ORDER BY due_ms LIMIT 1)`

/** Columns of the newest point; those but its id hold where that is there. */
interface PointColumns extends Omit<LastPoint, 'id' | 'timeMs' | 'kind' | 'reason'> {
  readonly pointId: string | null
  readonly pointMs: number
  readonly pointKind: LastPoint['kind']
  readonly pointReason: LastPoint['reason']
}

interface Found
  extends Omit<CoverageRow, 'exclusion' | 'plan' | 'lastPoint' | 'failure' | 'plannedSinceMs'>, PointColumns {
  readonly excludedBy: string | null
  readonly exclusionReason: string | null
  readonly excludedMs: number | null
  readonly untilMs: number | null
  readonly committedMs: number | null
  readonly jobError: string | null
  readonly jobEndedMs: number | null
  readonly jobsFailMs: number | null
  readonly runError: string | null
  readonly runState: string | null
  readonly retryMs: number | null
  readonly runFailedMs: number | null
  readonly runsFailMs: number | null
  readonly unsettled: number | null
  readonly pacePlan: string | null
  readonly paceMs: number | null
  readonly paceTiming: string | null
}

const errorOf = (text: string): JobFailure => JSON.parse(text) as JobFailure

/** The newest of what failed since the newest point: a job, or a start that made none. */
const failureOf = (found: Found): Failure | null => {
  const { committedMs, jobError, jobEndedMs, jobsFailMs, runError, runFailedMs, runsFailMs, runState, retryMs } = found
  // when a start failed that made no job, or whose job failed
  const startMs = runError !== null && (runFailedMs ?? 0) > (committedMs ?? 0) ? runFailedMs : null
  const waits = startMs !== null && runState === 'due'
  const rest = { open: waits || found.unsettled === 1, retryMs: waits ? retryMs : null }
  const sinceMs = Math.min(jobsFailMs ?? Infinity, startMs === null ? Infinity : (runsFailMs ?? startMs))
  if (jobError !== null && (startMs === null || (jobEndedMs ?? 0) >= startMs))
    return { error: errorOf(jobError), sinceMs, ...rest }
  return startMs === null || runError === null ? null : { error: errorOf(runError), sinceMs, ...rest }
}

const timings = new WeakMap<Plan, PlanTiming>()

/** What of a plan a state depends on: one object for all of its machines, as what it covers may be long. */
const timingOf = (plan: Plan): PlanTiming => {
  const known = timings.get(plan)
  if (known !== undefined) return known
  const { name, enabled, schedule, rpoMs, timeZone, window, jitterMs, verifyDays } = plan
  const timing = { name, enabled, schedule, rpoMs, timeZone, window, jitterMs, verifyDays }
  timings.set(plan, timing)
  return timing
}

const pointOf = (found: PointColumns): LastPoint | null => {
  const { pointId: id, pointMs: timeMs, pointKind: kind, pointReason: reason } = found
  const { consistency, bytesRead, bytesSent, durationMs } = found
  return id === null ? null : { id, timeMs, kind, reason, consistency, bytesRead, bytesSent, durationMs }
}

const rowOf = (found: Found, plan: Plan | null): CoverageRow => {
  const { name, group, agent, host, revokedMs, seenMs, goneMs, createdMs, firstPointMs, lastVerifiedMs, dueMs } = found
  const { excludedBy: by, exclusionReason: reason, excludedMs: sinceMs, untilMs } = found
  const exclusion = by === null || reason === null || sinceMs === null ? null : { by, reason, sinceMs, untilMs }
  const planned = plan !== null && found.pacePlan === plan.name && found.paceTiming !== ''
  const of = { name, group, agent, host, revokedMs, seenMs, goneMs, createdMs, firstPointMs, lastVerifiedMs, dueMs }
  const planning = { plannedSinceMs: planned ? found.paceMs : null, plan: plan === null ? null : timingOf(plan) }
  return { ...of, ...planning, exclusion, lastPoint: pointOf(found), failure: failureOf(found) }
}

const facts = (sql: Sql, asked: Rowed<CoverageAsked>): CoverageRow[] => {
  const { tenant, machine, machines = null, contains = null, group, after, limit } = asked
  const planFor = coveringIn(sql, tenant)
  const only = machines === null ? '' : 'AND machine.name IN (SELECT value FROM json_each(?7))'
  return sql
    .all<Found>(
      `${FACTS} WHERE machine.tenant = ?1 AND machine.name > ?2 AND (?3 IS NULL OR machine.name = ?3)
       AND (?4 IS NULL OR machine.member_of = ?4) AND (?5 IS NULL OR instr(lower(machine.name), ?5) > 0) ${only}
       ORDER BY machine.name LIMIT ?6`,
      tenant,
      after ?? '',
      machine,
      group,
      contains?.toLowerCase() ?? null,
      Math.max(0, Math.min(limit, COVERAGE_PAGE_MAX)),
      ...(machines === null ? [] : [JSON.stringify(machines)]),
    )
    .map((found) => rowOf(found, planFor(found)))
}

const eventOf = (sql: Sql, tenant: number): number =>
  sql.get<{ number: number }>('SELECT number FROM event_head WHERE tenant = ?', tenant)?.number ?? 0

/** What of a tenant the states of any of its machines depend on; each part is a count or a sum along an index. */
const WHOLE = `SELECT (SELECT plans FROM tenant WHERE id = ?1) || ' ' || (SELECT count(*) FROM machine WHERE tenant = ?1) || ' ' ||
  (SELECT count(*) || ' ' || total(since_ms) || ' ' || total(until_ms) FROM exclusion WHERE tenant = ?1) || ' ' ||
  (SELECT count(*) || ' ' || total(since_ms) FROM absent JOIN machine ON machine.id = absent.machine WHERE machine.tenant = ?1)
  AS whole`

const mark = (sql: Sql, { tenant }: { tenant: number }): CoverageMark => ({
  whole: sql.get<{ whole: string }>(WHOLE, tenant)!.whole,
  event: eventOf(sql, tenant),
})

const changed = (sql: Sql, { tenant, event }: { tenant: number; event: number }): string[] | null => {
  const told = sql.all<{ machine: string | null }>(
    `SELECT machine FROM event WHERE tenant = ? AND number > ? ORDER BY number LIMIT ${CHANGED_MAX + 1}`,
    tenant,
    event,
  )
  // fewer than their numbers say: some are gone
  if (told.length > CHANGED_MAX || told.length < eventOf(sql, tenant) - event) return null
  return [...new Set(told.map(({ machine }) => machine).filter((machine) => machine !== null))]
}

export const coverageOperations = {
  'coverage.facts': aside(facts),

  'coverage.mark': aside(mark),

  'coverage.changed': aside(changed),
} satisfies Partial<Operations>
