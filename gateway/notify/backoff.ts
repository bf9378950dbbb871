// When a message that could not be sent is tried again. Pure.
import { NOTICE_WAIT_MAX_MS } from '../catalog/notices.ts'

const MINUTE_MS = 60_000

/** Wait after the first failure, and the longest one, in milliseconds: a minute, six hours. */
export const RETRY_FIRST_MS = MINUTE_MS
export const RETRY_MAX_MS = NOTICE_WAIT_MAX_MS

/** How long a message is tried, in milliseconds: a day. Then it is dead, as after so many attempts, whatever the clock says. */
export const RETRY_TOTAL_MS = 24 * 60 * MINUTE_MS
export const ATTEMPTS_MAX = 24

/** When the next attempt is, after so many; null where the message is dead. */
export const nextAttempt = (attempts: number, madeMs: number, nowMs: number): number | null => {
  const waitMs = Math.min(RETRY_FIRST_MS * 2 ** Math.max(0, attempts - 1), RETRY_MAX_MS)
  const nextMs = nowMs + waitMs
  return nextMs - madeMs > RETRY_TOTAL_MS || attempts >= ATTEMPTS_MAX ? null : nextMs
}
