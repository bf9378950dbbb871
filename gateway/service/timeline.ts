// The timeline of a tenant's plans: which machines each covers, how long they take, and when they start.
import { setImmediate } from 'node:timers/promises'
import { VarveError } from '../../protocol/errors.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import { isExcluded, type Exclusion, type Plan } from '../../protocol/plans.ts'
import { TIMELINE_MS_MAX, TIMELINE_ROWS_MAX, TIMELINE_STEPS_MAX, type PlanTimeline } from '../../protocol/timeline.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { DURATIONS_MAX, usualMs } from '../plans/deadline.ts'
import { jitterMs } from '../plans/jitter.ts'
import { timelineOf, type TimedMachine } from '../plans/timeline.ts'
import { whyNone } from '../plans/upcoming.ts'
import { keyBehind, nextOf, TEXT_KEY } from './page.ts'

/** Work of one page, about 10 ns each: as others wait meanwhile. */
const WORK_MAX = 4_000_000

/** Machines that one question to the catalog is about. */
const MACHINES_PAGE = 1000

interface Uses {
  readonly catalog: Pick<Catalog, 'machines' | 'plans' | 'runs'>
  readonly tenant: string
  readonly nowMs: number
}

interface Covered {
  readonly name: string
  readonly exclusion: Exclusion | null
}

/** The machines of each plan. */
const machinesOf = async ({ catalog, tenant }: Uses): Promise<Map<string, Covered[]>> => {
  const machines = new Map<string, Covered[]>()
  for (let after: string | null = null; ;) {
    const rows = await catalog.machines.list({ tenant, agent: null, after, limit: MACHINES_PAGE })
    for (const { name, plan, exclusion } of rows) {
      if (plan === null) continue
      const of = machines.get(plan)
      if (of === undefined) machines.set(plan, [{ name, exclusion }])
      else of.push({ name, exclusion })
    }
    if (rows.length < MACHINES_PAGE) return machines
    after = rows.at(-1)!.name
  }
}

/** The median of what backups of machines usually take; null without any. */
const usualOf = async ({ catalog, tenant }: Uses, machines: readonly Covered[]): Promise<number | null> => {
  const usual: number[] = []
  for (let from = 0; from < machines.length; from += MACHINES_PAGE) {
    const names = machines.slice(from, from + MACHINES_PAGE).map(({ name }) => name)
    const found = await catalog.runs.durations({ tenant, machines: names, limit: DURATIONS_MAX })
    for (const durations of Object.values(found)) if (durations.length > 0) usual.push(usualMs(durations))
  }
  return usual.toSorted((a, b) => a - b)[Math.floor(usual.length / 2)] ?? null
}

const timed = ({ tenant, nowMs }: Uses, plan: Plan, { name, exclusion }: Covered): TimedMachine[] => {
  const excluded = isExcluded(exclusion, nowMs)
  if (excluded && exclusion!.untilMs === null) return []
  const offsetMs = jitterMs({ tenant, machine: name, plan: plan.name }, plan.jitterMs)
  return [{ jitterMs: offsetMs, fromMs: excluded ? exclusion!.untilMs! : 0 }]
}

/** PARAMS_INVALID for a time that ends before it begins, or is too long for its steps. */
const checkTime = ({ fromMs, untilMs, stepMs }: Params<'plans.timeline'>): void => {
  if (untilMs <= fromMs) throw new VarveError('PARAMS_INVALID', 'untilMs: the time must end behind its beginning')
  if (untilMs - fromMs > TIMELINE_MS_MAX) throw new VarveError('PARAMS_INVALID', 'untilMs: at most 62 days from fromMs')
  if ((untilMs - fromMs) / stepMs > TIMELINE_STEPS_MAX)
    throw new VarveError('PARAMS_INVALID', `stepMs: more than ${TIMELINE_STEPS_MAX} steps; take a longer step`)
}

/** One page of plans by name, or only the one that is named; NOT_FOUND. */
export const timelinePage = async (uses: Uses, params: Params<'plans.timeline'>): Promise<Result<'plans.timeline'>> => {
  checkTime(params)
  const { plan: only, fromMs, untilMs, stepMs, after, limit } = params
  const list = `plans.timeline ${fromMs} ${untilMs} ${stepMs} ${only ?? ''}`
  const behind = keyBehind(list, after, TEXT_KEY)?.[0] ?? null
  const { tenant } = uses
  const plans =
    only === null
      ? await uses.catalog.plans.page({ tenant, after: behind, limit: limit + 1 })
      : [await uses.catalog.plans.get({ tenant, name: only })]
  const machines = await machinesOf(uses)
  const rows: PlanTimeline[] = []
  let [work, steps] = [0, 0]
  for (const plan of plans.slice(0, limit)) {
    if (rows.length > 0 && (work > WORK_MAX / 2 || steps + TIMELINE_STEPS_MAX > TIMELINE_ROWS_MAX)) break
    // others have their turn between plans
    await setImmediate()
    const of = machines.get(plan.name) ?? []
    const reason = whyNone(plan, null, uses.nowMs)
    const timing = reason === null ? of.flatMap((machine) => timed(uses, plan, machine)) : []
    const told = timelineOf({ plan, machines: timing, fromMs, untilMs, stepMs, workMax: WORK_MAX - work })
    work += told.work
    steps += told.starts.length
    rows.push({
      plan: plan.name,
      machines: of.length,
      excluded: of.filter(({ exclusion }) => isExcluded(exclusion, uses.nowMs)).length,
      usualMs: await usualOf(uses, of),
      reason,
      starts: told.starts,
      untilMs: told.untilMs,
    })
  }
  return { plans: rows, next: nextOf(list, { rows, more: rows.length < plans.length }, ({ plan }) => [plan]) }
}
