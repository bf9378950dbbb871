// What a number of days makes of a lock: until when, the day as it is shown, and what has to be typed. Pure.
import { DAY_MS, dayText } from '../../parts/format.ts'

/** Days that the dialog offers, those above which they have to be typed again, and the most that it takes. */
export const LOCK_DAYS = 30
const TYPED_DAYS = 90
export const LOCK_DAYS_MAX = 36_500

export interface Lock {
  readonly untilMs: number
  readonly day: string
  /** The number of days where they are many: nobody takes a lock back. */
  readonly typed?: string
}

/** Null for what is no number of days. */
export const lockOf = (days: number, nowMs: number, zone: string): Lock | null => {
  if (!Number.isSafeInteger(days) || days < 1 || days > LOCK_DAYS_MAX) return null
  const untilMs = nowMs + days * DAY_MS
  return { untilMs, day: dayText(untilMs, zone), ...(days > TYPED_DAYS ? { typed: String(days) } : {}) }
}
