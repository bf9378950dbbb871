// Rows of jobs and of their uploads: what they hold, and how they are read.
import type { Begun, JobFailure, JobRow, ShownJob, UploadRow } from '../jobs.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { withFlags, type Flagged } from './flags.ts'
import type { Sql } from './sql.ts'

/** Columns of jobs that are shown. */
export const SHOWN_COLUMNS = `job.id, machine.name AS machine, job.agent, job.subject, job.state,
  job."full", job.compare, job.base, job.seq, job.started_ms AS startedMs, job.ended_ms AS endedMs, job.released, job.error`

const jobFlags = withFlags<ShownJob>('full', 'compare', 'released')

/** A row of SHOWN_COLUMNS. */
export type FoundJob = Omit<Flagged<ShownJob>, 'error'> & { readonly error: string | null }

export const shownJob = ({ error, ...job }: FoundJob): ShownJob =>
  jobFlags({ ...job, error: error === null ? null : (JSON.parse(error) as JobFailure) })

/** A job with the numbers of its tables. */
export interface OwnJob extends JobRow {
  readonly machineRow: number
}

const JOB = `SELECT ${SHOWN_COLUMNS}, job.begun, job.machine AS machineRow FROM job JOIN machine ON machine.id = job.machine`

const UPLOAD = `SELECT disk, size, kind, reason, has_base AS hasBase, base_root AS baseRoot, position, state, finished, root,
  received AS bytesSent, stored AS bytesStored, changed AS changedBytes, evidence, compared AS comparedChunks, attachment FROM upload`

/** A job of this agent; NOT_FOUND. */
export const jobOf = (sql: Sql, id: string, agent: string): OwnJob => {
  const job = sql.get<FoundJob & { begun: string | null; machineRow: number }>(
    `${JOB} WHERE job.id = ? AND job.agent = ?`,
    id,
    agent,
  )
  if (job === undefined) throw new VarveError('NOT_FOUND', `there is no job ${id}`)
  const { begun, machineRow, ...shown } = job
  return { ...shownJob(shown), begun: begun === null ? null : (JSON.parse(begun) as Begun), machineRow }
}

/** The same while it runs; JOB_ENDED. */
export const runningJobOf = (sql: Sql, id: string, agent: string): OwnJob => {
  const job = jobOf(sql, id, agent)
  if (job.state !== 'running') throw new VarveError('JOB_ENDED', `job ${id} has ${job.state} already`)
  return job
}

/** The uploads of a job, in the order of its disks. */
export const uploadsOf = (sql: Sql, job: string): UploadRow[] =>
  sql
    .all<Flagged<UploadRow>>(`${UPLOAD} WHERE job = ? ORDER BY ordinal`, job)
    .map(withFlags<UploadRow>('hasBase', 'finished', 'attachment'))
