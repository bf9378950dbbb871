// Comparisons of what is said to be unchanged: when a plan asks for one, and the image of the base that it is held against.
import { VarveError } from '../../../protocol/errors.ts'
import { policyOf } from '../../../protocol/plans.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { jobOf, runningJobOf } from './job-rows.ts'
import { addMissed, missedOf } from './missed.ts'
import { read, write, type Operations } from './operation.ts'
import { planOfMachine } from './plans.ts'
import type { Sql } from './sql.ts'

/** Whether a machine's plan asks for a comparison now: none of its backups since then compared or read everything. */
export const comparisonDue = (sql: Sql, machine: number, nowMs: number): boolean => {
  const { compareDays } = policyOf(planOfMachine(sql, machine))
  if (compareDays === null) return false
  const sinceMs = nowMs - compareDays * DAY_MS
  const last = sql.get(
    `SELECT 1 FROM job LEFT JOIN point ON point.id = job.id WHERE job.machine = ? AND job.state = 'committed'
     AND (job.compare = 1 OR point.kind = 'full') AND job.ended_ms > ? AND job.ended_ms <= ? LIMIT 1`,
    machine,
    sinceMs,
    nowMs,
  )
  return last === undefined
}

export const comparisonOperations = {
  'jobs.baseImage': read((sql, args) => {
    const { base } = runningJobOf(sql, args.job, args.agent)
    const image = sql.get<{ root: Uint8Array | null; size: number }>(
      'SELECT root, size FROM image WHERE point = ? AND disk = ? AND attachment = 0',
      base ?? '',
      args.disk,
    )
    if (image === undefined) throw new VarveError('NOT_FOUND', `the base of job ${args.job} has no disk "${args.disk}"`)
    return { ...image, missed: missedOf(sql, base).has(args.disk) }
  }),

  'jobs.missed': write((sql, { job, agent, disk }) => addMissed(sql, jobOf(sql, job, agent).base, disk)),
} satisfies Partial<Operations>
