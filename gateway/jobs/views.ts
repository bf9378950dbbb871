// How rows of the catalog look on the wire.
import type { ListedPoint, StoredPoint } from '../catalog/points.ts'
import type { ShownJob, ShownUpload } from '../catalog/jobs.ts'
import type { Job } from '../../protocol/methods.ts'
import type { Point } from '../../protocol/schemas.ts'

/** `comparedBytes` is what this process has compared for it so far. */
export const jobView = (
  job: ShownJob,
  uploads: readonly ShownUpload[],
  chunkBytes: number,
  comparedBytes = 0,
): Job => ({
  id: job.id,
  machine: job.machine,
  state: job.state,
  subject: job.subject,
  startedMs: job.startedMs,
  endedMs: job.endedMs,
  released: job.released,
  comparedBytes,
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
    leftOut: [...point.leftOut],
    disks: [...point.disks],
    attachments: [...point.attachments],
  }
}
