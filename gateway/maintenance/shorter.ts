// What plans that change cost: restore points that the next prune removes and the plans before would have kept.
import { VarveError } from '../../protocol/errors.ts'
import { PLAN_RULES_DEFAULT, type Plan, type PruneRules } from '../../protocol/plans.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { RetentionPoint } from '../catalog/retention.ts'
import { coveringOf } from '../plans/covering.ts'
import { isOff, planRetention } from './retention.ts'

/** Restore points that are looked at; of a tenant with more the answer is a lower bound, and says so. */
export const SHORTER_POINTS_MAX = 200_000

interface Asked {
  readonly catalog: Pick<Catalog, 'plans' | 'retention'>
  readonly tenant: string
  readonly before: readonly Plan[]
  readonly after: readonly Plan[]
  readonly nowMs: number
}

interface Lost {
  points: number
  machines: number
  newestMs: number
}

/** Ids of points that a prune by these rules removes. */
const going = (points: readonly RetentionPoint[], rules: PruneRules, nowMs: number): Set<string> =>
  new Set(planRetention(points, rules, nowMs).flatMap(({ point, keptBy }) => (keptBy.length === 0 ? [point.id] : [])))

/** The points of a machine; none of one that went meanwhile. */
const pointsOf = async ({ catalog, tenant }: Asked, machine: string): Promise<RetentionPoint[]> => {
  try {
    return await catalog.retention.points({ tenant, machine })
  } catch (error) {
    if (error instanceof VarveError && error.code === 'NOT_FOUND') return []
    throw error
  }
}

const sentence = (plan: string, { points, machines, newestMs }: Lost, isAll: boolean): string => {
  const counted = `${isAll ? '' : 'at least '}${points} restore ${points === 1 ? 'point' : 'points'}`
  const newest = new Date(newestMs).toISOString().slice(0, 16).replace('T', ' ')
  const of = `${machines} ${machines === 1 ? 'machine' : 'machines'}`
  return `plan ${plan}: the next prune removes ${counted} of ${of} that stayed before, the newest of ${newest} UTC`
}

/** One sentence for each plan whose machines lose points by it; a point is counted under the plan that covers it then. */
export const shorter = async (asked: Asked): Promise<string[]> => {
  const { catalog, tenant, before, after, nowMs } = asked
  const [planBefore, planAfter] = [coveringOf(before), coveringOf(after)]
  const losses = new Map<string, Lost>()
  let looked = 0
  for (const machine of await catalog.plans.machines({ tenant })) {
    const [was, is] = [planBefore(machine) ?? PLAN_RULES_DEFAULT, planAfter(machine)]
    if (is === null || isOff(is.keep)) continue
    const alike = was.timeZone === is.timeZone && JSON.stringify(was.keep) === JSON.stringify(is.keep)
    if (alike) continue
    if (looked >= SHORTER_POINTS_MAX) break
    const points = await pointsOf(asked, machine.name)
    looked += points.length
    const goesAnyway = going(points, was, nowMs)
    const goes = going(points, is, nowMs)
    const lost = points.filter(({ id }) => goes.has(id) && !goesAnyway.has(id))
    if (lost.length === 0) continue
    const sum = losses.get(is.name) ?? { points: 0, machines: 0, newestMs: 0 }
    sum.points += lost.length
    sum.machines++
    sum.newestMs = lost.reduce((newest, { timeMs }) => Math.max(newest, timeMs), sum.newestMs)
    losses.set(is.name, sum)
  }
  return [...losses].map(([plan, lost]) => sentence(plan, lost, looked < SHORTER_POINTS_MAX))
}
