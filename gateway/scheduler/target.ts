// When a backup has to start so that a freshness target is met, where no schedule says it. Pure.
import { isOpen, lastOpen, nextOpen } from '../plans/window.ts'

const MINUTE_MS = 60_000

/** A tenth of the target is kept for waiting, at most so much, in milliseconds. */
const MARGIN_PART = 0.1
const MARGIN_MS_MAX = 60 * MINUTE_MS

/** Starts are spread over a tenth of the target, at most over so much, in milliseconds. */
const SPREAD_PART = 0.1
const SPREAD_MS_MAX = 60 * MINUTE_MS

/** A quarter of the target passes between a run that failed for good and the next one, within these bounds, in milliseconds. */
const PAUSE_PART = 0.25
const PAUSE_MS_MIN = MINUTE_MS
const PAUSE_MS_MAX = 60 * MINUTE_MS

/** How wide the starts of a target are spread, in milliseconds. */
export const spreadMs = (rpoMs: number): number => Math.min(rpoMs * SPREAD_PART, SPREAD_MS_MAX)

const clamp = (value: number, min: number, max: number): number => Math.min(Math.max(value, min), max)

export interface Target {
  readonly rpoMs: number
  readonly window: string | null
  readonly timeZone: string
  /** The newest point; null for none. */
  readonly lastPointMs: number | null
  /** Since when the plan is to protect the machine. */
  readonly sinceMs: number
  /** What backups usually take. */
  readonly usualMs: number
  /** Below spreadMs, always alike for the machine. */
  readonly offsetMs: number
  /** When the newest run of it was due, and ended; null for none, or where it is not over. */
  readonly lastDueMs: number | null
  readonly lastEndedMs: number | null
}

/** When it would be due by the target and the window alone. */
const byTarget = ({ rpoMs, window, timeZone, lastPointMs, sinceMs, usualMs, offsetMs }: Target): number => {
  if (lastPointMs === null) return nextOpen(window, timeZone, sinceMs + offsetMs)
  const aheadMs = Math.min(rpoMs * MARGIN_PART, MARGIN_MS_MAX) + Math.min(usualMs, rpoMs / 2) + offsetMs
  const dueMs = lastPointMs + rpoMs - aheadMs
  if (isOpen(window, timeZone, dueMs)) return dueMs
  // as late as it can be in the last stretch before, or else as soon as it can be afterwards
  const open = lastOpen(window, timeZone, { fromMs: lastPointMs, beforeMs: dueMs })
  return open === null ? nextOpen(window, timeZone, dueMs) : Math.max(open.opensMs, open.closesMs - aheadMs)
}

/** When the next backup is due; after a run that failed for good or was skipped, not before a pause. */
export const targetDue = (target: Target): number => {
  const { rpoMs, window, timeZone, lastPointMs, lastDueMs, lastEndedMs } = target
  const dueMs = byTarget(target)
  if (lastDueMs === null || lastEndedMs === null) return dueMs
  // the point is newer than the run: it was met
  if (lastPointMs !== null && lastPointMs >= lastDueMs) return dueMs
  const pausedMs = lastEndedMs + clamp(rpoMs * PAUSE_PART, PAUSE_MS_MIN, PAUSE_MS_MAX)
  return dueMs >= pausedMs ? dueMs : nextOpen(window, timeZone, pausedMs)
}
