// What is told of jobs, in the transaction of their change: nothing of it is lost, and nothing told twice.
import type { JobFailure, UploadRow } from '../jobs.ts'
import { kindText, pointKind } from '../../../protocol/backup.ts'
import { sizeText } from '../../../protocol/host/size.ts'
import { happened } from './events.ts'
import type { Sql } from './sql.ts'

interface Of {
  readonly tenant: number
  readonly machine: string
  readonly subject: string
  readonly startedMs: number
}

const of = (sql: Sql, job: string): Of =>
  sql.get<Of & object>(
    'SELECT job.tenant, machine.name AS machine, job.subject, job.started_ms AS startedMs FROM job JOIN machine ON machine.id = job.machine WHERE job.id = ?',
    job,
  )!

export const tellStarted = (sql: Sql, job: string, nowMs: number): void => {
  const { tenant, machine, subject } = of(sql, job)
  const text = `a backup of ${machine} has started`
  happened(sql, tenant, {
    timeMs: nowMs,
    kind: 'job.started',
    severity: 'info',
    machine,
    text,
    data: { job, subject },
  })
}

export const tellFailed = (sql: Sql, job: string, { code, message }: JobFailure, nowMs: number): void => {
  const { tenant, machine, subject, startedMs } = of(sql, job)
  const durationMs = Math.max(0, nowMs - startedMs)
  const severity = code === 'CANCELLED' ? 'warning' : 'error'
  const text = `the backup of ${machine} failed: ${message} (${code})`
  happened(sql, tenant, {
    timeMs: nowMs,
    kind: 'job.failed',
    severity,
    machine,
    text,
    data: { job, subject, code, durationMs },
  })
}

/** A job that is committed, its restore point and, with the reasons, the disks of it that were read in full. */
export const tellCommitted = (
  sql: Sql,
  job: string,
  { uploads, bytesRead, nowMs }: { uploads: readonly UploadRow[]; bytesRead: number; nowMs: number },
): void => {
  const { tenant, machine, subject, startedMs } = of(sql, job)
  const durationMs = Math.max(0, nowMs - startedMs)
  const disks = uploads.filter(({ attachment }) => !attachment).map((upload) => ({ ...upload, name: upload.disk }))
  const { kind, reason } = pointKind(disks)
  const bytesSent = uploads.reduce((sum, upload) => sum + upload.bytesSent, 0)
  const bytesStored = uploads.reduce((sum, upload) => sum + upload.bytesStored, 0)
  const about = { timeMs: nowMs, severity: 'info', machine } as const
  const how = kindText(disks)
  const text = `the backup of ${machine} is done: ${how}; ${sizeText(bytesRead)} read, ${sizeText(bytesSent)} sent`
  happened(sql, tenant, {
    ...about,
    kind: 'job.done',
    text,
    data: { job, subject, durationMs, bytesRead, bytesSent, bytesStored },
  })
  const added = { text: `${machine} has a new restore point: ${how}`, data: { point: job, kind, reason } }
  happened(sql, tenant, { ...about, kind: 'point.added', ...added })
  const full = disks.filter((disk) => disk.kind === 'full')
  if (full.length === 0) return
  const expected = full.every((disk) => disk.reason === 'first' || disk.reason === 'requested')
  const read = { point: job, reason, disks: full.map(({ name }) => name).join(', '), expected }
  happened(sql, tenant, {
    ...about,
    kind: 'full-read',
    severity: expected ? 'info' : 'warning',
    text: `${machine} was read in full: ${how}`,
    data: read,
  })
}
