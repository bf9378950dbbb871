// When a machine's next restore point is due, and has to be there at the latest to be fresh. Pure.
import type { PlanRules } from '../../protocol/plans.ts'
import { nextRun } from './next-run.ts'
import { nextOpen } from './window.ts'

/** How much later than its schedule a point may be, beyond what backups of the machine usually take, in milliseconds. */
export const GRACE_MS = 3_600_000

/** Backups of a machine whose durations count, the newest ones. */
export const DURATIONS_MAX = 20

/** What a plan says of time. */
export type Timing = Pick<PlanRules, 'enabled' | 'schedule' | 'rpoMs' | 'timeZone' | 'window'>

/** What is known of a machine that a deadline needs. */
export interface Progress {
  /** Time of the newest restore point; null for none. */
  readonly lastPointMs: number | null
  /** Since when its plan is to protect it: what counts while there is no point. */
  readonly sinceMs: number
  /** How far behind each slot it starts; see jitterMs. */
  readonly jitterMs: number
  /** What its backups usually take at most; see usualMs. */
  readonly usualMs: number
}

/** The 90th percentile of durations in milliseconds, 0 for none. */
export const usualMs = (durationsMs: readonly number[]): number => {
  const sorted = durationsMs.toSorted((a, b) => a - b)
  return sorted[Math.ceil(sorted.length * 0.9) - 1] ?? 0
}

/** The first slot behind an instant, jitter included; null for a plan without schedule. */
export const slotAfter = (
  { schedule, timeZone }: Pick<Timing, 'schedule' | 'timeZone'>,
  jitterMs: number,
  afterMs: number,
): number | null => {
  if (schedule === null) return null
  const slotMs = nextRun(schedule, timeZone, afterMs - jitterMs)
  return slotMs === null ? null : slotMs + jitterMs
}

/**
 * When the next restore point has to be there at the latest; null where nothing is expected: the plan is off or starts nothing.
 * With a freshness target that is its time behind the newest point; with a schedule alone it is the slot behind the newest point
 * (or the opening of the window behind that), GRACE_MS and what backups usually take.
 */
export const deadlineOf = (plan: Timing, { lastPointMs, sinceMs, jitterMs, usualMs }: Progress): number | null => {
  if (!plan.enabled) return null
  const fromMs = lastPointMs ?? sinceMs
  if (plan.rpoMs !== null) return fromMs + plan.rpoMs
  const slotMs = slotAfter(plan, jitterMs, fromMs)
  return slotMs === null ? null : nextOpen(plan.window, plan.timeZone, slotMs) + GRACE_MS + usualMs
}
