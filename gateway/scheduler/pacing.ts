// By which plan and since when the slots of a machine are planned. Pure.
import type { Plan } from '../../protocol/plans.ts'
import type { SkipReason } from '../../protocol/runs.ts'
import type { MachinePace, PlannedMachine } from '../catalog/runs.ts'
import { coveringOf } from '../plans/covering.ts'
import { jitterMs } from '../plans/jitter.ts'
import { Slots } from './slots.ts'
import { spreadMs } from './target.ts'

/** What is planned so much ahead of the clock comes from a clock that was ahead, in milliseconds. */
export const AHEAD_MS_MAX = 5 * 60_000

/** What starts backups of a machine, or why nothing does. */
export type Effective =
  { readonly plan: Plan; readonly timing: string } | { readonly plan: Plan | null; readonly not: SkipReason }

/** What was computed before and holds as long as what it was computed from is the same. */
export class Memo {
  readonly slots = new Slots()
  readonly #coverings = new WeakMap<readonly Plan[], (machine: PlannedMachine) => Plan | null>()
  readonly #timings = new WeakMap<Plan, string>()
  /** By machine: its offset in a plan. */
  readonly #offsets = new Map<string, { readonly of: string; readonly ms: number }>()

  covering(plans: readonly Plan[]): (machine: PlannedMachine) => Plan | null {
    let covering = this.#coverings.get(plans)
    if (covering === undefined) this.#coverings.set(plans, (covering = coveringOf(plans)))
    return covering
  }

  /** What of a plan its slots depend on. */
  timing(plan: Plan): string {
    let timing = this.#timings.get(plan)
    if (timing === undefined) {
      const { schedule, timeZone, jitterMs: widthMs, rpoMs } = plan
      timing = JSON.stringify(schedule === null ? { rpoMs } : { schedule, timeZone, widthMs })
      this.#timings.set(plan, timing)
    }
    return timing
  }

  /** How far behind each slot the machine starts. */
  offsetMs({ tenant, name }: PlannedMachine, plan: Plan): number {
    const key = `${tenant} ${name}`
    const widthMs = plan.schedule === null ? spreadMs(plan.rpoMs ?? 0) : plan.jitterMs
    const of = `${plan.name} ${widthMs}`
    const known = this.#offsets.get(key)
    if (known?.of === of) return known.ms
    const ms = jitterMs({ tenant, machine: name, plan: plan.name }, widthMs)
    this.#offsets.set(key, { of, ms })
    return ms
  }
}

/** The plan that starts backups of a machine, or why none does. */
export const effectiveOf = (machine: PlannedMachine, plan: Plan | null, memo: Memo, nowMs: number): Effective => {
  if (machine.revoked) return { plan, not: 'gone' }
  if (machine.excludedUntilMs !== null && machine.excludedUntilMs > nowMs) return { plan, not: 'excluded' }
  if (plan === null || !plan.enabled || (plan.schedule === null && plan.rpoMs === null))
    return { plan, not: 'disabled' }
  return { plan, timing: memo.timing(plan) }
}

/** The pace of a machine by its plan now: the one of before where it still holds. */
export const paceOf = (machine: PlannedMachine, effective: Effective, nowMs: number): MachinePace | null => {
  const { pace, tenant, name } = machine
  const plan = effective.plan?.name ?? ''
  const timing = 'timing' in effective ? effective.timing : ''
  if (pace === null && timing === '') return null
  const same = pace !== null && pace.plan === plan && (pace.timing === '') === (timing === '')
  const kept = pace !== null && pace.plan === plan && pace.timing === timing && pace.plannedMs <= nowMs + AHEAD_MS_MAX
  return {
    tenant,
    machine: name,
    plan,
    timing,
    sinceMs: same ? Math.min(pace.sinceMs, nowMs) : nowMs,
    // slots of the past are not those of a plan that has just come
    plannedMs: kept ? pace.plannedMs : nowMs,
  }
}
