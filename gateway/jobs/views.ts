// How rows of the catalog look on the wire.
import type { Job } from '../../protocol/methods.ts'
import type { Point, Policy } from '../../protocol/schemas.ts'
import type { JobRow, UploadRow } from '../datastore/database/jobs.ts'
import type { StoredPoint } from '../datastore/database/points.ts'

export const jobView = (job: JobRow, uploads: readonly UploadRow[], chunkBytes: number): Job => ({
  id: job.id,
  machine: job.machine,
  state: job.state,
  subject: job.subject,
  startedMs: job.startedMs,
  endedMs: job.endedMs,
  bytesSent: uploads.reduce((sum, upload) => sum + upload.received, 0),
  error: job.error === null ? null : (JSON.parse(job.error) as Job['error']),
  disks: uploads.map(({ disk, size, kind, reason, position }) => ({
    name: disk,
    size,
    kind,
    reason,
    doneBytes: Math.min(position * chunkBytes, size),
  })),
})

/** A point as it is at this moment, by the gateway's clock. */
export const pointView = (
  { agent: _agent, configuration: _configuration, ...point }: StoredPoint,
  nowMs: number,
): Point => ({
  ...point,
  future: point.timeMs > nowMs,
  held: point.held === 1,
  disks: [...point.disks],
})

export const policyOf = (text: string): Policy => JSON.parse(text) as Policy
