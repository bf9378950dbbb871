// Which failures of a planned backup are tried again, and when. Pure.
import { ERRORS, isErrorCode, type ErrorCode } from '../../protocol/errors.ts'

const MINUTE_MS = 60_000

/** How long after each start that failed the next one is made, in milliseconds. */
const BACKOFF_MS: readonly number[] = [1, 2, 5, 10, 20].map((minutes) => minutes * MINUTE_MS)

/** Starts of one run at most. */
export const ATTEMPTS_MAX = 5

/** How long a run waits that could not be started for a reason that costs it no attempt, in milliseconds. */
export const HOLD_MS = MINUTE_MS / 2

/** The longest that a run ever waits for its next start: a later one comes from a clock that was ahead. */
export const WAIT_MS_MAX = 20 * MINUTE_MS

/**
 * What may succeed by itself besides what ERRORS says so of: a backup that was cut off by a restart of its agent or gateway, or
 * that another one had the lease or the place of at that moment.
 */
const ALSO: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'LEASE_LOST',
  'LEASE_HELD',
  'JOB_ENDED',
  'NBD_SERVER_BUSY',
  'NBD_ERROR',
  'QMP_ERROR',
  'LIBVIRT_ERROR',
  'GUEST_AGENT_ERROR',
  'DISK_IN_USE',
  'SNAPSHOT_FAILED',
  'MAINTENANCE_RUNNING',
  'PEER_FAILED',
  'REPLACED',
  'INTERNAL',
  // the guest was asked to freeze and did not: a busy guest may do so later
  'FREEZE_REQUIRED',
  // the chunk is read again by the next backup
  'DATA_DAMAGED',
])

/** What is no failure of the backup: it waits, and that costs no attempt. */
const WAITS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'AGENT_OFFLINE',
  'JOB_RUNNING',
  'MACHINE_MOVING',
  'EXISTS',
  'GOING_AWAY',
  'TOO_MANY_REQUESTS',
])

/** Whether a failure may be none the next time, without anybody changing anything. */
export const isPassing = (code: string): boolean => isErrorCode(code) && (ERRORS[code].retry || ALSO.has(code))

/** Whether a start that ended so is none: the run waits for its next one. */
export const isWait = (code: string): boolean => isErrorCode(code) && WAITS.has(code)

/**
 * When a run that failed is tried again; null for never: it cannot succeed by itself, was tried often enough, or the next slot
 * comes before.
 */
export const retryAt = ({
  code,
  attempts,
  nowMs,
  nextSlotMs,
}: {
  readonly code: string
  /** Starts so far. */
  readonly attempts: number
  readonly nowMs: number
  /** Null where there is none. */
  readonly nextSlotMs: number | null
}): number | null => {
  if (!isPassing(code) || attempts >= ATTEMPTS_MAX) return null
  const atMs = nowMs + (BACKOFF_MS[attempts - 1] ?? BACKOFF_MS.at(-1)!)
  return nextSlotMs !== null && atMs >= nextSlotMs ? null : atMs
}
