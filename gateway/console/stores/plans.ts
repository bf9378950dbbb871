// Plans: which there are, when they start their machines, what a change of one does, and what other rules would remove.
import type { PrunedPoint } from '../../../protocol/maintenance.ts'
import type { Result } from '../../../protocol/methods.ts'
import { everyRow } from '../../../protocol/paging.ts'
import type { Plan, PlanChange, PruneRules } from '../../../protocol/plans.ts'
import type { PlanTimeline } from '../../../protocol/timeline.ts'
import type { Link } from '../net/link.ts'
import { Resource } from '../net/resource.ts'
import { clock } from '../net/clock.ts'

/** How often they are asked for while somebody looks, in milliseconds. */
const REFRESH_MS = 60_000

/** Days that the lanes show, and the steps that they are asked for in, in milliseconds. */
export const LANE_DAYS = 14
export const STEP_MS = 900_000

/** How often at most it is gone on with plans that start too often to be told at once. */
const GO_ON_MAX = 8

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

export interface Lanes {
  readonly plans: readonly PlanTimeline[]
  readonly fromMs: number
  readonly untilMs: number
}

export const plansOf = (link: Link): Resource<readonly Plan[]> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: (signal) =>
      everyRow(
        (after) => link.call('plans.list', { after }, { signal }),
        (page) => page.plans,
      ),
  })

/** A plan whose starts end early, with those of the next answer; the step in which they ended is told anew. */
const goneOn = async (link: Link, told: PlanTimeline, lanes: Omit<Lanes, 'plans'>, signal: AbortSignal) => {
  const fromMs = lanes.fromMs + Math.floor((told.untilMs - lanes.fromMs) / STEP_MS) * STEP_MS
  const asked = { plan: told.plan, fromMs, untilMs: lanes.untilMs, stepMs: STEP_MS }
  const more = (await link.call('plans.timeline', asked, { signal })).plans[0]
  if (more === undefined || more.untilMs <= told.untilMs) return null
  const starts = [...told.starts.filter(({ atMs }) => atMs < fromMs), ...more.starts]
  return { ...told, starts, untilMs: more.untilMs }
}

/** Goes on with plans that ended early, GO_ON_MAX times at most in all; the others keep the instant until which they are told. */
const whole = async (link: Link, lanes: Lanes, signal: AbortSignal): Promise<Lanes> => {
  const plans = [...lanes.plans]
  let left = GO_ON_MAX
  for (const [index, plan] of plans.entries())
    for (let told: PlanTimeline | null = plan; told !== null && told.untilMs < lanes.untilMs && left > 0; left--) {
      told = await goneOn(link, told, lanes, signal)
      if (told !== null) plans[index] = told
    }
  return { ...lanes, plans }
}

/** From this hour on. */
export const lanesOf = (link: Link): Resource<Lanes> =>
  new Resource({
    link,
    everyMs: REFRESH_MS,
    read: async (signal) => {
      const fromMs = Math.floor(clock.now() / HOUR_MS) * HOUR_MS
      const untilMs = fromMs + LANE_DAYS * DAY_MS
      const plans = await everyRow(
        (after) => link.call('plans.timeline', { fromMs, untilMs, stepMs: STEP_MS, after }, { signal }),
        (page) => page.plans,
      )
      return await whole(link, { plans, fromMs, untilMs }, signal)
    },
  })

export type Applied = Result<'plans.apply'>

/** Says what a change would do, or makes it. */
export const applyPlan = (link: Link, change: PlanChange, dryRun: boolean): Promise<Applied> =>
  link.call('plans.apply', { plans: [change], merge: true, dryRun })

export const removePlan = (link: Link, name: string): Promise<Applied> =>
  link.call('plans.apply', { plans: [], remove: [name] })

/** Points of the machines that a plan covers, by its rules and by other ones. */
export interface TwoPrunes {
  readonly now: readonly PrunedPoint[]
  readonly wanted: readonly PrunedPoint[]
  /** How many there are; more than are listed where it is too many. */
  readonly pointCount: number
}

export const whatIf = async (link: Link, plan: string, rules: PruneRules): Promise<TwoPrunes> => {
  const asked = { machine: null, group: null, plan, points: null, dryRun: true }
  const now = await link.call('points.prune', { ...asked, rules: null })
  const wanted = await link.call('points.prune', { ...asked, rules })
  return { now: now.points, wanted: wanted.points, pointCount: wanted.pointCount }
}
