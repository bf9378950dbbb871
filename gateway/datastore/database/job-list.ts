// Jobs as they are looked at: one, or the newest of a tenant.
import { JOB, uploadsOf, type JobRow, type UploadRow } from './job-rows.ts'
import { read } from './operation.ts'
import type { Sql } from './sql.ts'

export const jobListOperations = {
  'job.get': read((sql: Sql, args: { tenant: number; job: string }): { job: JobRow; uploads: UploadRow[] } | null => {
    const job = sql.get<JobRow>(`${JOB} WHERE job.id = ? AND job.tenant = ?`, args.job, args.tenant)
    return job === undefined ? null : { job, uploads: uploadsOf(sql, args.job) }
  }),

  /** In the order in which they started, the last one first, whatever clocks said. */
  'job.list': read(
    (
      sql: Sql,
      args: { tenant: number; agent: string | null; machine: string | null; limit: number },
    ): { job: JobRow; uploads: UploadRow[] }[] =>
      sql
        .all<JobRow>(
          `${JOB} WHERE job.tenant = ? AND (? IS NULL OR job.agent = ?) AND (? IS NULL OR machine.name = ?)
           ORDER BY job.seq DESC, job.started_ms DESC LIMIT ?`,
          args.tenant,
          args.agent,
          args.agent,
          args.machine,
          args.machine,
          args.limit,
        )
        .map((job) => ({ job, uploads: uploadsOf(sql, job.id) })),
  ),
}
