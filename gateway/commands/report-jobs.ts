// Backups as rows for people.
import type { Job } from '../../protocol/methods.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { timeText } from './report-points.ts'

const stateText = ({ state, released }: Job): string =>
  state !== 'running' && !released ? `${state}, machine not released yet` : state

export const jobCells = (job: Job): string[] => [
  job.id,
  job.machine,
  timeText(job.startedMs),
  timeText(job.endedMs),
  stateText(job),
  sizeText(job.bytesSent),
  job.error === null ? '-' : `${job.error.message} (${job.error.code})`,
]
