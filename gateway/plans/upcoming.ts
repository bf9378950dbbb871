// The next runs of a plan, as people ask for them: instants only, nothing is planned by it. Pure.
import { isExcluded, type Exclusion, type Plan } from '../../protocol/plans.ts'
import { slotAfter } from './deadline.ts'
import { jitterMs } from './jitter.ts'
import { nextOpen } from './window.ts'

/** A run of a plan: when its schedule says so, and when it may start, after its jitter and within the window. */
export interface Upcoming {
  readonly slotMs: number
  readonly startMs: number
}

export interface UpcomingAsked {
  readonly plan: Plan
  /** Null for the plan's own slots, without jitter. */
  readonly of: { readonly tenant: string; readonly machine: string } | null
  readonly afterMs: number
  readonly count: number
}

/** The runs behind an instant; none where the plan has no schedule. */
export const upcoming = ({ plan, of, afterMs, count }: UpcomingAsked): Upcoming[] => {
  const jitter = of === null ? 0 : jitterMs({ ...of, plan: plan.name }, plan.jitterMs)
  const runs: Upcoming[] = []
  let behindMs = afterMs
  while (runs.length < count) {
    const atMs = slotAfter(plan, jitter, behindMs)
    if (atMs === null) break
    runs.push({ slotMs: atMs - jitter, startMs: nextOpen(plan.window, plan.timeZone, atMs) })
    behindMs = atMs
  }
  return runs
}

/** Why a plan, or a machine of it, has no runs at instants that can be told; null where it has. */
export const whyNone = (plan: Plan | null, exclusion: Exclusion | null, nowMs: number): string | null => {
  if (plan === null) return 'no plan covers it'
  if (isExcluded(exclusion, nowMs)) return `it is excluded: ${exclusion!.reason}`
  if (!plan.enabled) return `plan ${plan.name} is disabled`
  if (plan.schedule !== null) return null
  return plan.rpoMs === null
    ? `plan ${plan.name} has neither a schedule nor a freshness target: it starts nothing`
    : `plan ${plan.name} has no schedule: the gateway chooses the time, so that the target is met`
}
