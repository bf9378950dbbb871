// Jobs as they are looked at: one, or the newest of a tenant.
import type { JobsAsked, ShownBackup, ShownJob, ShownUpload } from '../jobs.ts'
import { PAGE_DISKS_MAX } from '../../../protocol/limits.ts'
import { withFlags, type Flagged } from './flags.ts'
import { SHOWN_COLUMNS, shownJob, type FoundJob } from './job-rows.ts'
import { aside, type Operations } from './operation.ts'
import type { Sql, SqlValue } from './sql.ts'
import type { Rowed } from './tenant-row.ts'

/**
 * The statement for the newest jobs, in the order in which they started, with its values; each way to ask goes along an index.
 */
export const jobsStatement = ({
  tenant,
  agent,
  machine,
  running,
  after,
  limit,
}: Rowed<JobsAsked>): [string, ...SqlValue[]] => {
  const behind = after === null ? '' : 'AND job.seq < (SELECT seq FROM job WHERE id = ? AND tenant = ?)'
  const from = after === null ? [] : [after, tenant]
  const open = running === true ? 'AND job.ended_ms IS NULL' : ''
  const order = `${open} ${behind} ORDER BY job.seq DESC LIMIT ?`
  const select = `SELECT ${SHOWN_COLUMNS} FROM`
  if (machine !== null) {
    const own = agent === null ? '' : 'AND job.agent = ?'
    const text = `${select} machine CROSS JOIN job INDEXED BY job_machine_created ON job.machine = machine.id
      WHERE machine.tenant = ? AND machine.name = ? ${own} ${order}`
    return [text, tenant, machine, ...(agent === null ? [] : [agent]), ...from, limit]
  }
  if (running === true) {
    // few are open at once: they are found by the index of those, and put in order
    const own = agent === null ? '' : 'AND job.agent = ?'
    const text = `${select} job INDEXED BY job_open CROSS JOIN machine ON machine.id = job.machine
      WHERE +job.tenant = ? ${own} ${order}`
    return [text, tenant, ...(agent === null ? [] : [agent]), ...from, limit]
  }
  const [index, column, value] =
    agent === null ? ['job_created', 'tenant', tenant] : ['job_agent_created', 'agent', agent]
  const text = `${select} job INDEXED BY ${index} CROSS JOIN machine ON machine.id = job.machine
    WHERE job.${column} = ? AND +job.tenant = ? ${order}`
  return [text, value, tenant, ...from, limit]
}

/** Uploads of the jobs of one page, in its order and that of their images; more of them than PAGE_DISKS_MAX are cut. */
export const PAGE_UPLOADS = `SELECT upload.job, disk, size, kind, reason, position, received AS bytesSent, attachment
  FROM json_each(?) AS page CROSS JOIN upload ON upload.job = page.value ORDER BY page.key, upload.ordinal LIMIT ?`

const shownUpload = withFlags<ShownUpload>('attachment')

const withUploads = (sql: Sql, jobs: readonly ShownJob[]): ShownBackup[] => {
  const ids = JSON.stringify(jobs.map(({ id }) => id))
  const found = new Map<string, ShownUpload[]>(jobs.map(({ id }) => [id, []]))
  for (const { job, ...upload } of sql.all<Flagged<ShownUpload> & { readonly job: string }>(
    PAGE_UPLOADS,
    ids,
    PAGE_DISKS_MAX + 1,
  ))
    found.get(job)?.push(shownUpload(upload))
  const shown: ShownBackup[] = []
  let count = 0
  for (const job of jobs) {
    const uploads = found.get(job.id)!
    count += uploads.length
    // its uploads may be cut
    if (count > PAGE_DISKS_MAX) break
    shown.push({ job, uploads })
  }
  return shown
}

export const jobListOperations = {
  'jobs.get': aside((sql, args) => {
    const job = sql.get<FoundJob>(
      `SELECT ${SHOWN_COLUMNS} FROM job JOIN machine ON machine.id = job.machine WHERE job.id = ? AND job.tenant = ?`,
      args.job,
      args.tenant,
    )
    return job === undefined ? null : withUploads(sql, [shownJob(job)])[0]!
  }),

  'jobs.list': aside((sql, asked) => {
    const [text, ...values] = jobsStatement({ ...asked, limit: asked.limit + 1 })
    const found = sql.all<FoundJob>(text, ...values).map(shownJob)
    const jobs = withUploads(sql, found.slice(0, asked.limit))
    return { jobs, more: found.length > jobs.length }
  }),
} satisfies Partial<Operations>
