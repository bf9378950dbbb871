// Days of machines: what was on each, so that a calendar shows it at a glance.
import * as v from 'valibot'
import { MACHINE_STATES } from './coverage.ts'
import { SKIP_REASONS } from './runs.ts'
import { count, name, readReason } from './schemas.ts'

/** Most days of one call: a quarter of a year. */
export const COVERAGE_DAYS_MAX = 92

/** Most machines of one page of days. */
export const DAYS_PAGE_MAX = 100

export const dayText = v.pipe(v.string(), v.regex(/^\d{4}-\d{2}-\d{2}$/u, 'a day such as 2026-11-29'))

/** What was on one day of a machine. */
export const dayCell = v.object({
  /** Its index, 0 for the first day asked for. */
  day: v.pipe(count, v.maxValue(COVERAGE_DAYS_MAX - 1)),
  /** Restore points of that day that are still there. */
  points: count,
  /** Backups that began on that day and failed, but for those that a person cancelled. */
  failed: count,
  /** Planned backups that were not started, but for those that a newer point made needless. */
  skipped: count,
  /** Why the last of them was not; null for none. */
  skipReason: v.nullable(v.picklist(SKIP_REASONS)),
  /** Why a disk was read in full, where it was: rather one that nobody asked for than `first` or `requested`. */
  fullReason: v.nullable(readReason),
  /** Points of that day of which known damage leaves something unreadable. */
  damaged: count,
  /** Points of that day that were verified since. */
  verified: count,
})
export type DayCell = v.InferOutput<typeof dayCell>

export const machineDays = v.object({
  machine: name,
  /** Its state now. */
  state: v.picklist(MACHINE_STATES),
  /** Only days on which something was, ascending. */
  cells: v.pipe(v.array(dayCell), v.maxLength(COVERAGE_DAYS_MAX)),
})
export type MachineDays = v.InferOutput<typeof machineDays>
