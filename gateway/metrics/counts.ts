// Counts what is told: ended backups with their bytes and freezes, and full reads by reason.
import { READ_REASONS } from '../../protocol/backup.ts'
import type { EventRow } from '../catalog/events.ts'
import type { EndedBackup } from './ended-backups.ts'
import type { Instruments } from './instruments.ts'

type Happened = Instruments['happened']

/** A value of a label that is one of the known ones: whatever is told makes no more series than these. */
const oneOf = (known: readonly string[], value: unknown): string =>
  typeof value === 'string' && known.includes(value) ? value : 'other'

export const countEnded = (
  happened: Happened,
  { tenant, startedMs, endedMs, error, bytes, noted }: EndedBackup,
): void => {
  const { jobsEnded, jobErrors, backupDuration, backupBytes, freeze } = happened
  jobsEnded.inc({ tenant, state: error === null ? 'committed' : 'failed' })
  for (const { step, tookMs } of noted?.steps ?? []) if (step === 'freeze') freeze.observe({ tenant }, tookMs / 1000)
  if (error !== null) return jobErrors.inc({ tenant, code: error.code })
  backupDuration.observe({ tenant }, (endedMs - startedMs) / 1000)
  for (const stage of ['read', 'sent', 'stored'] as const) backupBytes.inc({ tenant, stage }, bytes[stage])
}

/** Counts an event that is no end of a backup. */
export const countEvent = ({ fullReads }: Happened, { kind, tenantName, data }: EventRow): void => {
  const tenant = tenantName ?? ''
  if (kind === 'full-read') fullReads.inc({ tenant, reason: oneOf(READ_REASONS, data['reason']) })
}
