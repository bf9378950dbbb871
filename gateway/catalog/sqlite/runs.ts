// Runs: the slots of plans and of upkeep, what became of each, and what a round of the scheduler looks at.
import type { Plan } from '../../../protocol/plans.ts'
import type { JobFailure } from '../jobs.ts'
import type { NewRun, PlannedMachine, RunFrom, RunRow, RunsAsked } from '../runs.ts'
import { RUNS_KEPT_MAX } from '../runs.ts'
import { findMachineRow, machineRow } from './machine-row.ts'
import { aside, read, write, type Operations } from './operation.ts'
import { tellRun } from './run-events.ts'
import { plansOf } from './plans.ts'
import { LAST_CREATED } from './points.ts'
import type { Sql, SqlValue } from './sql.ts'

const MACHINES = `SELECT tenant.uuid AS tenant, machine.name, machine.member_of AS "group", machine.agent,
  agent.revoked_ms IS NOT NULL AS revoked, machine.created_ms AS createdMs,
  (SELECT min(point.time_ms, point.committed_ms) FROM point WHERE point.machine = machine.id ORDER BY ${LAST_CREATED} LIMIT 1) AS pointMs,
  job.id AS job, job.agent AS jobAgent, exclusion.since_ms AS excludedMs, exclusion.until_ms AS untilMs,
  pace.plan, pace.timing, pace.since_ms AS sinceMs, pace.planned_ms AS plannedMs, run.due_ms AS lastDueMs, run.ended_ms AS lastEndedMs
  FROM machine JOIN tenant ON tenant.id = machine.tenant JOIN agent ON agent.id = machine.agent
  LEFT JOIN job ON job.id = (SELECT open.id FROM job AS open WHERE open.machine = machine.id AND open.ended_ms IS NULL LIMIT 1)
  LEFT JOIN exclusion ON exclusion.tenant = machine.tenant AND exclusion.machine = machine.name
  LEFT JOIN pace ON pace.machine = machine.id
  LEFT JOIN run ON run.id = (SELECT last.id FROM run AS last WHERE last.machine = machine.id AND last.subject IS NULL
    AND last.kind = 'backup' ORDER BY last.due_ms DESC LIMIT 1)`

interface FoundMachine extends Omit<PlannedMachine, 'revoked' | 'excludedUntilMs' | 'pace'> {
  readonly revoked: number
  readonly excludedMs: number | null
  readonly untilMs: number | null
  readonly plan: string | null
  readonly timing: string
  readonly sinceMs: number
  readonly plannedMs: number
}

// written out: thousands of them are made in every round, and copies of rows with a rest are slow
const plannedMachine = (found: FoundMachine): PlannedMachine => ({
  tenant: found.tenant,
  name: found.name,
  group: found.group,
  agent: found.agent,
  revoked: found.revoked !== 0,
  createdMs: found.createdMs,
  pointMs: found.pointMs,
  job: found.job,
  jobAgent: found.jobAgent,
  excludedUntilMs: found.excludedMs === null ? null : (found.untilMs ?? Infinity),
  pace:
    found.plan === null
      ? null
      : { plan: found.plan, timing: found.timing, sinceMs: found.sinceMs, plannedMs: found.plannedMs },
  lastDueMs: found.lastDueMs,
  lastEndedMs: found.lastEndedMs,
})

const RUN = `SELECT run.id, tenant.uuid AS tenant, run.kind, machine.name AS machine, run.plan, run.due_ms AS dueMs, run.state, run.skipped,
  run.attempts, run.error, run.next_ms AS nextMs, run.started_ms AS startedMs, run.ended_ms AS endedMs, run.job, run.subject AS "by",
  run.summary, run.owner, run.lease_ms AS leaseMs, job.state AS jobState, job.error AS jobError
  FROM run LEFT JOIN tenant ON tenant.id = run.tenant LEFT JOIN machine ON machine.id = run.machine LEFT JOIN job ON job.id = run.job`

interface FoundRun extends Omit<RunRow, 'error' | 'jobError'> {
  readonly error: string | null
  readonly jobError: string | null
}

const failureOf = (text: string | null): JobFailure | null => (text === null ? null : (JSON.parse(text) as JobFailure))

const runRow = (found: FoundRun): RunRow => ({
  ...found,
  error: failureOf(found.error),
  jobError: failureOf(found.jobError),
})

/** The numbers of a run's tenant and machine; null where one of them is not there. */
const placeOf = (sql: Sql, { tenant, machine }: NewRun): { tenant: number | null; machine: number | null } | null => {
  const row = tenant === null ? null : sql.get<{ id: number }>('SELECT id FROM tenant WHERE uuid = ?', tenant)?.id
  if (row === undefined) return null
  if (machine === null) return { tenant: row, machine: null }
  const found = row === null ? null : findMachineRow(sql, row, machine)
  return found === null ? null : { tenant: row, machine: found }
}

/** Removes what is more than RUNS_KEPT_MAX of the same; what is not over stays. */
const trimSlots = (sql: Sql, tenant: number | null, kind: string, machine: number | null): void => {
  const slot = 'ifnull(tenant, 0) = ? AND kind = ? AND ifnull(machine, 0) = ?'
  const values = [tenant ?? 0, kind, machine ?? 0]
  const oldest = sql.get<{ due: number }>(
    `SELECT due_ms AS due FROM run WHERE ${slot} ORDER BY due_ms DESC LIMIT 1 OFFSET ${RUNS_KEPT_MAX}`,
    ...values,
  )
  if (oldest === undefined) return
  sql.run(`DELETE FROM run WHERE ${slot} AND due_ms <= ? AND state NOT IN ('due', 'running')`, ...values, oldest.due)
}

/** Whether the slot was added; one that is there stays as it is. */
const addRun = (sql: Sql, run: NewRun): boolean => {
  const place = placeOf(sql, run)
  if (place === null) return false
  const skipped = run.skipped ?? null
  const added = sql.run(
    `INSERT OR IGNORE INTO run (id, tenant, machine, kind, plan, due_ms, state, skipped, ended_ms, summary)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    run.id,
    place.tenant,
    place.machine,
    run.kind,
    run.plan,
    run.dueMs,
    skipped === null ? 'due' : 'skipped',
    skipped,
    skipped === null ? null : run.dueMs,
    run.summary ?? '',
  )
  if (added > 0) trimSlots(sql, place.tenant, run.kind, place.machine)
  return added > 0
}

/** What a run by a person is, in the tables. */
interface ByHand {
  readonly id: string
  readonly tenant: number | null
  readonly kind: string
  readonly machine: number | null
  readonly subject: string
  readonly nowMs: number
  readonly owner?: string
  readonly leaseMs?: number
  readonly job?: string
}

/** Adds the running run of what a person started; its slot is the first free instant from now on. */
export const addByHand = (sql: Sql, run: ByHand): void => {
  const taken = 'SELECT 1 FROM run WHERE ifnull(tenant, 0) = ? AND kind = ? AND ifnull(machine, 0) = ? AND due_ms = ?'
  let dueMs = run.nowMs
  while (sql.get(taken, run.tenant ?? 0, run.kind, run.machine ?? 0, dueMs) !== undefined) dueMs++
  sql.run(
    `INSERT INTO run (id, tenant, machine, kind, due_ms, state, attempts, owner, lease_ms, job, started_ms, subject)
     VALUES (?, ?, ?, ?, ?, 'running', 1, ?, ?, ?, ?, ?)`,
    run.id,
    run.tenant,
    run.machine,
    run.kind,
    dueMs,
    run.owner ?? null,
    run.leaseMs === undefined ? null : run.nowMs + run.leaseMs,
    run.job ?? null,
    run.nowMs,
    run.subject,
  )
  trimSlots(sql, run.tenant, run.kind, run.machine)
}

/** Gives a due run its job; false where it is not due any more. */
export const startRun = (sql: Sql, run: { id: string; owner: string; job: string; nowMs: number }): boolean =>
  sql.run(
    `UPDATE run SET state = 'running', attempts = attempts + 1, owner = ?, job = ?, started_ms = ?, next_ms = NULL
     WHERE id = ? AND state = 'due'`,
    run.owner,
    run.job,
    run.nowMs,
    run.id,
  ) > 0

/** Ends the run of a job that has ended, but for a planned one that failed: whether that is tried again is the scheduler's. */
export const endRunOfJob = (sql: Sql, job: string, failed: string | null, nowMs: number): void => {
  sql.run(
    `UPDATE run SET state = ?, error = ?, ended_ms = ?, owner = NULL WHERE job = ? AND state = 'running'
     AND (? IS NULL OR subject IS NOT NULL)`,
    failed === null ? 'done' : 'failed',
    failed,
    nowMs,
    job,
    failed,
  )
}

const fromCondition = (from: RunFrom): [string, ...SqlValue[]] => {
  if (from.state === 'due') return ["state = 'due' AND attempts = ?", from.attempts]
  if ('owner' in from) return ["state = 'running' AND owner = ? AND job IS NULL", from.owner]
  return ["state = 'running' AND job = ?", from.job]
}

const openRuns = (sql: Sql): RunRow[] =>
  sql.all<FoundRun>(`${RUN} WHERE run.state IN ('due', 'running') ORDER BY run.due_ms, run.rowid`).map(runRow)

/** The statement of a list, with its values: of the state `due` the first come first, of all others the newest. */
export const runsStatement = ({
  tenant,
  machine,
  kind,
  state,
  after,
  limit,
}: Omit<RunsAsked, 'tenant' | 'machine'> & Readonly<Record<'tenant' | 'machine', number | null>>): [
  string,
  ...SqlValue[],
] => {
  const values: SqlValue[] = []
  const where: string[] = []
  const only = (condition: string, ...of: SqlValue[]): void => {
    where.push(condition)
    values.push(...of)
  }
  // what is not over are few, of all tenants: run_open has them, and no other index is to be taken
  const isOpen = state === 'due' || state === 'running'
  if (isOpen) where.push("run.state IN ('due', 'running')")
  const place = isOpen ? '+run' : 'run'
  if (tenant === null) where.push(`${place}.tenant IS NULL`)
  else if (machine === null) only(`${place}.tenant = ?`, tenant)
  else only(`${place}.machine = ?`, machine)
  if (kind !== null) only('run.kind = ?', kind)
  if (state !== null) only('run.state = ?', state)
  const [order, behind] = state === 'due' ? ['ASC', '>'] : ['DESC', '<']
  if (after !== null) only(`(run.due_ms, run.id) ${behind} (?, ?)`, after.dueMs, after.id)
  const text = `${RUN} WHERE ${where.join(' AND ')} ORDER BY run.due_ms ${order}, run.id ${order} LIMIT ?`
  return [text, ...values, limit]
}

export const runOperations = {
  'runs.plan': write((sql, { runs, paces = [] }) => {
    const added = runs.filter((run) => addRun(sql, run)).map(({ id }) => id)
    for (const { tenant, machine, plan, timing, sinceMs, plannedMs } of paces)
      sql.run(
        `INSERT INTO pace (machine, plan, timing, since_ms, planned_ms)
         SELECT machine.id, ?, ?, ?, ? FROM machine JOIN tenant ON tenant.id = machine.tenant WHERE tenant.uuid = ? AND machine.name = ?
         ON CONFLICT DO UPDATE SET plan = excluded.plan, timing = excluded.timing, since_ms = excluded.since_ms,
         planned_ms = excluded.planned_ms`,
        plan,
        timing,
        sinceMs,
        plannedMs,
        tenant,
        machine,
      )
    return added
  }),

  'runs.begin': write((sql, { tenant, machine, ...run }) => {
    const row = tenant === null || machine === null ? null : machineRow(sql, tenant, machine)
    addByHand(sql, { ...run, tenant, machine: row })
  }),

  'runs.open': read(openRuns),

  'runs.world': aside((sql) => ({
    tenants: sql
      .all<{ row: number; id: string; name: string }>('SELECT id AS row, uuid AS id, name FROM tenant ORDER BY name')
      .map(({ row, ...tenant }): { id: string; name: string; plans: Plan[] } => ({
        ...tenant,
        plans: plansOf(sql, row),
      })),
    machines: sql.all<FoundMachine>(`${MACHINES} ORDER BY machine.id`).map(plannedMachine),
    runs: openRuns(sql),
  })),

  'runs.machine': read((sql, { tenant, name }) => {
    const found = sql.get<FoundMachine>(`${MACHINES} WHERE machine.tenant = ? AND machine.name = ?`, tenant, name)
    return found === undefined ? null : plannedMachine(found)
  }),

  'runs.durations': aside((sql, { tenant, machines, limit }) => {
    const found: Record<string, number[]> = {}
    for (const name of machines) {
      const machine = findMachineRow(sql, tenant, name)
      if (machine === null) continue
      const rows = sql.all<{ ms: number }>(
        `SELECT point.duration_ms AS ms FROM point WHERE point.machine = ? ORDER BY ${LAST_CREATED} LIMIT ?`,
        machine,
        limit,
      )
      if (rows.length > 0) found[name] = rows.map(({ ms }) => ms)
    }
    return found
  }),

  'runs.claim': write((sql, { id, owner, nowMs, leaseMs }) => {
    const claimed = sql.run(
      `UPDATE run SET state = 'running', owner = ?, lease_ms = ?, attempts = attempts + 1, started_ms = ?, next_ms = NULL
       WHERE id = ? AND job IS NULL AND (state = 'due' OR state = 'running' AND (lease_ms <= ? OR lease_ms > ?))`,
      owner,
      nowMs + leaseMs,
      nowMs,
      id,
      nowMs,
      nowMs + 2 * leaseMs,
    )
    if (claimed > 0) tellRun(sql, id, nowMs)
    return claimed > 0
  }),

  'runs.renew': write(
    (sql, { id, owner, nowMs, leaseMs }) =>
      sql.run(
        "UPDATE run SET lease_ms = ? WHERE id = ? AND state = 'running' AND owner = ?",
        nowMs + leaseMs,
        id,
        owner,
      ) > 0,
  ),

  'runs.end': write((sql, end) => {
    const [condition, ...values] = fromCondition(end.from)
    const over = end.state !== 'due'
    const ended = sql.run(
      `UPDATE run SET state = ?, skipped = ?, error = ?, summary = ?, next_ms = ?, attempts = ifnull(?, attempts), ended_ms = ?,
       owner = NULL, lease_ms = NULL WHERE id = ? AND ${condition}`,
      end.state,
      end.skipped ?? null,
      end.error === undefined || end.error === null ? null : JSON.stringify(end.error),
      end.summary ?? '',
      end.nextMs ?? null,
      end.attempts ?? null,
      over ? end.nowMs : null,
      end.id,
      ...values,
    )
    if (ended > 0 && over) tellRun(sql, end.id, end.nowMs)
    return ended > 0
  }),

  'runs.list': aside((sql, { machine, tenant, ...asked }) => {
    const row = tenant === null || machine === null ? null : machineRow(sql, tenant, machine)
    const [text, ...values] = runsStatement({ ...asked, tenant, machine: row })
    return sql.all<FoundRun>(text, ...values).map(runRow)
  }),

  'runs.trim': write((sql, { beforeMs, limit }) =>
    sql.run(
      `DELETE FROM run WHERE id IN (SELECT id FROM run WHERE ended_ms IS NOT NULL AND ended_ms < ? LIMIT ?)
       AND state NOT IN ('due', 'running')`,
      beforeMs,
      limit,
    ),
  ),
} satisfies Partial<Operations>
