// The facts of machines from which their states follow: each is one step along an index, whatever a machine has behind it.
import type { Plan } from '../../../protocol/plans.ts'
import { COVERAGE_PAGE_MAX, type CoverageAsked, type CoverageRow, type Failure, type PlanTiming } from '../coverage.ts'
import type { JobFailure } from '../jobs.ts'
import { aside, type Operations } from './operation.ts'
import { coveringIn } from './plans.ts'
import { LAST_CREATED } from './points.ts'
import type { Sql } from './sql.ts'
import type { Rowed } from './tenant-row.ts'

/** Jobs that say how backups go: one that a person cancelled says nothing. */
const TELLING = "(job.state = 'committed' OR (job.state = 'failed' AND job.error ->> 'code' <> 'CANCELLED'))"

/** Runs of backups whose last start failed, and that did not succeed since. */
const FAILED_RUN = "kind = 'backup' AND error IS NOT NULL AND state IN ('due', 'running', 'failed')"

const FACTS = `SELECT machine.name, machine.member_of AS "group", machine.agent, agent.host, agent.revoked_ms AS revokedMs,
  coalesce(agent.seen_ms, agent.enrolled_ms) AS seenMs, absent.since_ms AS goneMs, machine.created_ms AS createdMs,
  exclusion.subject AS excludedBy, exclusion.reason AS exclusionReason, exclusion.since_ms AS excludedMs, exclusion.until_ms AS untilMs,
  point.id AS pointId, point.time_ms AS pointMs, point.committed_ms AS committedMs,
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
    ORDER BY job.seq DESC, job.started_ms DESC LIMIT 1)
  LEFT JOIN run ON run.id = (SELECT id FROM run WHERE run.machine = machine.id AND ${FAILED_RUN} ORDER BY due_ms DESC LIMIT 1)
  LEFT JOIN run AS open ON open.id = (SELECT id FROM run WHERE run.machine = machine.id AND kind = 'backup'
    AND state IN ('due', 'running') ORDER BY due_ms LIMIT 1)`

interface Found extends Omit<CoverageRow, 'exclusion' | 'plan' | 'lastPoint' | 'failure' | 'plannedSinceMs'> {
  readonly excludedBy: string | null
  readonly exclusionReason: string | null
  readonly excludedMs: number | null
  readonly untilMs: number | null
  readonly pointId: string | null
  readonly pointMs: number | null
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

const rowOf = (found: Found, plan: Plan | null): CoverageRow => {
  const { name, group, agent, host, revokedMs, seenMs, goneMs, createdMs, firstPointMs, lastVerifiedMs, dueMs } = found
  const { excludedBy: by, exclusionReason: reason, excludedMs: sinceMs, untilMs, pointId, pointMs } = found
  const exclusion = by === null || reason === null || sinceMs === null ? null : { by, reason, sinceMs, untilMs }
  const lastPoint = pointId === null || pointMs === null ? null : { id: pointId, timeMs: pointMs }
  const planned = plan !== null && found.pacePlan === plan.name && found.paceTiming !== ''
  const of = { name, group, agent, host, revokedMs, seenMs, goneMs, createdMs, firstPointMs, lastVerifiedMs, dueMs }
  const planning = { plannedSinceMs: planned ? found.paceMs : null, plan: plan === null ? null : timingOf(plan) }
  return { ...of, ...planning, exclusion, lastPoint, failure: failureOf(found) }
}

const facts = (sql: Sql, { tenant, machine, group, after, limit }: Rowed<CoverageAsked>): CoverageRow[] => {
  const planFor = coveringIn(sql, tenant)
  return sql
    .all<Found>(
      `${FACTS} WHERE machine.tenant = ?1 AND machine.name > ?2 AND (?3 IS NULL OR machine.name = ?3)
       AND (?4 IS NULL OR machine.member_of = ?4) ORDER BY machine.name LIMIT ?5`,
      tenant,
      after ?? '',
      machine,
      group,
      Math.max(0, Math.min(limit, COVERAGE_PAGE_MAX)),
    )
    .map((found) => rowOf(found, planFor(found)))
}

export const coverageOperations = {
  'coverage.facts': aside(facts),
} satisfies Partial<Operations>
