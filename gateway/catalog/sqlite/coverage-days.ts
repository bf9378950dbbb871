// What was on each day of machines: a range of each along its indexes, whatever is behind it.
import type { ReadReason } from '../../../protocol/backup.ts'
import type { SkipReason } from '../../../protocol/runs.ts'
import { cellsOf, DAY_FACTS_MAX, type DayAsked, type DayFact, type MachineDays } from '../days.ts'
import { aside, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'
import type { Rowed } from './tenant-row.ts'

const POINTS = `SELECT time_ms AS timeMs, CASE WHEN kind = 'full' THEN reason END AS fullReason, verified_ms IS NOT NULL AS verified,
  EXISTS (SELECT 1 FROM lost WHERE lost.point = point.id) AS damaged
  FROM point INDEXED BY point_machine WHERE machine = ? AND time_ms >= ? AND time_ms < ? ORDER BY time_ms`

// what a person cancelled says nothing of how backups go
const FAILED_JOBS = `SELECT started_ms AS timeMs FROM job INDEXED BY job_machine WHERE machine = ? AND started_ms >= ? AND started_ms < ?
  AND state = 'failed' AND error ->> 'code' <> 'CANCELLED'`

// a start that made no job failed for itself; one that a fresh point made needless is no gap
const RUNS = `SELECT due_ms AS timeMs, skipped AS reason FROM run INDEXED BY run_machine WHERE machine = ? AND due_ms >= ? AND due_ms < ?
  AND kind = 'backup' AND ((state = 'skipped' AND skipped NOT IN ('fresh', 'nothing')) OR (state = 'failed' AND job IS NULL))
  ORDER BY due_ms`

interface FoundPoint {
  readonly timeMs: number
  readonly fullReason: ReadReason | null
  readonly verified: number
  readonly damaged: number
}

const factsOf = (sql: Sql, machine: number, bounds: readonly number[]): DayFact[] => {
  const range = [machine, bounds[0]!, bounds.at(-1)!]
  return [
    ...sql.all<FoundPoint>(POINTS, ...range).map(({ timeMs, fullReason, verified, damaged }): DayFact => ({
      type: 'point',
      timeMs,
      fullReason,
      damaged: damaged !== 0,
      verified: verified !== 0,
    })),
    ...sql.all<{ timeMs: number }>(FAILED_JOBS, ...range).map(({ timeMs }): DayFact => ({ type: 'failed', timeMs })),
    ...sql
      .all<{ timeMs: number; reason: SkipReason | null }>(RUNS, ...range)
      .map(({ timeMs, reason }): DayFact =>
        reason === null ? { type: 'failed', timeMs } : { type: 'skipped', timeMs, reason },
      ),
  ]
}

const days = (sql: Sql, { tenant, machines, bounds }: Rowed<DayAsked>): MachineDays[] => {
  const found: MachineDays[] = []
  let read = 0
  for (const name of machines) {
    const machine = sql.get<{ id: number }>('SELECT id FROM machine WHERE tenant = ? AND name = ?', tenant, name)
    const facts = machine === undefined ? [] : factsOf(sql, machine.id, bounds)
    read += facts.length
    if (found.length > 0 && read > DAY_FACTS_MAX) break
    found.push({ machine: name, cells: cellsOf(facts, bounds) })
  }
  return found
}

export const dayOperations = {
  'coverage.days': aside(days),
} satisfies Partial<Operations>
