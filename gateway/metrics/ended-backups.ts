// Backups that have ended, from what is told of them: the event, and the steps that the agent named.
import { isErrorCode } from '../../protocol/errors.ts'
import type { EventRow } from '../catalog/events.ts'
import type { NotedSteps, StepNotes } from '../jobs/step-notes.ts'

/** A backup that has ended. */
export interface EndedBackup {
  readonly job: string
  /** Name of the tenant. */
  readonly tenant: string
  readonly machine: string
  /** By the gateway's clock, in milliseconds since 1970. */
  readonly startedMs: number
  readonly endedMs: number
  /** Null for one that made a restore point. */
  readonly error: { readonly code: string; readonly message: string } | null
  /** 0 for one that failed: nobody sums up what it did. */
  readonly bytes: Readonly<Record<'read' | 'sent' | 'stored', number>>
  readonly noted: NotedSteps | null
}

const countOf = (value: unknown): number => (typeof value === 'number' && value >= 0 ? value : 0)

/** The backup that an event says has ended; null for another event. Takes its steps out of the notes. */
export const endedOf = (event: EventRow, notes: Pick<StepNotes, 'take'>): EndedBackup | null => {
  const { kind, tenant, tenantName, machine, timeMs, text, data } = event
  if (kind !== 'job.done' && kind !== 'job.failed') return null
  const { job } = data
  if (tenant === null || tenantName === null || machine === null || typeof job !== 'string') return null
  const { code } = data
  const known = typeof code === 'string' && isErrorCode(code) ? code : 'other'
  return {
    job,
    tenant: tenantName,
    machine,
    startedMs: timeMs - countOf(data['durationMs']),
    endedMs: timeMs,
    error: kind === 'job.done' ? null : { code: known, message: text },
    bytes: {
      read: countOf(data['bytesRead']),
      sent: countOf(data['bytesSent']),
      stored: countOf(data['bytesStored']),
    },
    noted: notes.take(tenant, job),
  }
}
