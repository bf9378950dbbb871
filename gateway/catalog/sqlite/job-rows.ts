// Rows of jobs and of their uploads: what they hold, and how they are read.
import type { Begun, JobRow, UploadRow } from '../jobs.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { Sql } from './sql.ts'

/** What a job's row says that it has begun; a program that did not know of disks left out began it without them. */
export const begunOf = (text: string): Begun => ({ leftOut: [], ...(JSON.parse(text) as Omit<Begun, 'leftOut'>) })

/** Columns of jobs that are shown. */
export const SHOWN_COLUMNS = `job.id, machine.name AS machine, job.machine AS machineId, job.agent, job.subject, job.state,
  job."full", job.compare, job.base, job.seq, job.started_ms AS startedMs, job.ended_ms AS endedMs, job.released, job.error`

/** Asks for rows of jobs. */
export const JOB = `SELECT ${SHOWN_COLUMNS}, job.begun FROM job JOIN machine ON machine.id = job.machine`

/** Asks for rows of uploads. */
export const UPLOAD = `SELECT disk, size, kind, reason, has_base AS hasBase, base_root AS baseRoot, position, state, finished, root,
  received, stored, changed, evidence, compared AS comparedChunks FROM upload`

/** A job of this agent; NOT_FOUND. */
export const jobOf = (sql: Sql, id: string, agent: string): JobRow => {
  const job = sql.get<JobRow>(`${JOB} WHERE job.id = ? AND job.agent = ?`, id, agent)
  if (job === undefined) throw new VarveError('NOT_FOUND', `there is no job ${id}`)
  return job
}

/** The same while it runs; JOB_ENDED. */
export const runningJobOf = (sql: Sql, id: string, agent: string): JobRow => {
  const job = jobOf(sql, id, agent)
  if (job.state !== 'running') throw new VarveError('JOB_ENDED', `job ${id} has ${job.state} already`)
  return job
}

/** The uploads of a job, in the order of its disks. */
export const uploadsOf = (sql: Sql, job: string): UploadRow[] =>
  sql.all<UploadRow>(`${UPLOAD} WHERE job = ? ORDER BY ordinal`, job)
