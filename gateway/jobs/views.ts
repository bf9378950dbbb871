// How rows of the catalog look on the wire.
import type { ListedPoint, StoredPoint } from '../catalog/points.ts'
import type { ShownJob, ShownUpload } from '../catalog/jobs.ts'
import type { JobPhase } from '../../protocol/backup.ts'
import type { Job } from '../../protocol/methods.ts'
import type { Point } from '../../protocol/schemas.ts'
import type { CourseLook } from './courses.ts'

/** What this process knows of a job beside its row: bytes that it has compared for it, and how it goes on. */
export interface JobLook {
  readonly comparedBytes: number
  /** Its agent is connected. */
  readonly online: boolean
  readonly course: CourseLook
}

/** Where a running job is. What its row says goes before what its agent said: that may be old. */
const phaseOf = (
  uploads: readonly ShownUpload[],
  chunkBytes: number,
  { comparedBytes, course: { accepted, step } }: JobLook,
): JobPhase => {
  if (uploads.length > 0)
    return uploads.every(({ size, position }) => position * chunkBytes >= size) ? 'finishing' : 'reading'
  if (step === 'compare' || step === 'announce' || comparedBytes > 0) return 'comparing'
  return accepted ? 'preparing' : 'asked'
}

export const jobView = (job: ShownJob, uploads: readonly ShownUpload[], chunkBytes: number, look: JobLook): Job => ({
  id: job.id,
  machine: job.machine,
  agent: job.agent,
  online: look.online,
  state: job.state,
  phase: job.state === 'running' ? phaseOf(uploads, chunkBytes, look) : null,
  limit: job.state === 'running' && look.online ? look.course.limit : null,
  resumes: look.course.resumes,
  resumedMs: look.course.resumedMs,
  subject: job.subject,
  startedMs: job.startedMs,
  endedMs: job.endedMs,
  released: job.released,
  comparedBytes: look.comparedBytes,
  bytesSent: uploads.reduce((sum, upload) => sum + upload.bytesSent, 0),
  error: job.error,
  disks: uploads
    .filter(({ attachment }) => !attachment)
    .map(({ disk, size, kind, reason, position }) => ({
      name: disk,
      size,
      kind,
      reason,
      doneBytes: Math.min(position * chunkBytes, size),
    })),
})

/** A point as it is at this moment, by the gateway's clock. */
export const pointView = (
  stored: ListedPoint & Partial<Pick<StoredPoint, 'configuration' | 'missing'>>,
  nowMs: number,
): Point => {
  const { agent: _agent, configuration: _configuration, missing: _missing, ...point } = stored
  return {
    ...point,
    future: point.timeMs > nowMs,
    held: point.held,
    usedUntilMs: (point.usedUntilMs ?? 0) > nowMs ? point.usedUntilMs : null,
    leftOut: [...point.leftOut],
    disks: [...point.disks],
    attachments: [...point.attachments],
  }
}
