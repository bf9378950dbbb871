// Prune: plans which restore points of a tenant go, and removes them a few at a time, or those that a person named all at once.
import type { Tenant } from '../catalog/tenants.ts'
import { REMOVED_POINTS_MAX, type Removal, type RetentionPoint } from '../catalog/retention.ts'
import { PRUNE_POINTS_MAX, type PrunedPoint } from '../../protocol/maintenance.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import { PLAN_RULES_DEFAULT, type PruneRules } from '../../protocol/plans.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { failpoint } from '../common/failpoint.ts'
import { coveringOf } from '../plans/covering.ts'
import { planRetention, protectedBy } from './retention.ts'

/** Points that one transaction removes: 1.8 ms for each with 12 disks, during which all backups wait. */
const STEP_POINTS = 50

export interface PruneRequest {
  readonly catalog: Catalog
  readonly tenant: Tenant
  readonly params: Params<'points.prune'>
  readonly nowMs: number
  readonly by: Removal['by']
}

/** The plan so far: the ids to remove, and the rows to show. */
interface Plan {
  readonly going: string[]
  readonly goingRows: PrunedPoint[]
  readonly keptRows: PrunedPoint[]
  count: number
}

const addTo = (plan: Plan, { id, machine, timeMs }: RetentionPoint, keptBy: PrunedPoint['keptBy']): void => {
  const rows = keptBy.length === 0 ? plan.goingRows : plan.keptRows
  if (rows.length < PRUNE_POINTS_MAX) rows.push({ point: id, machine, timeMs, keptBy })
  if (keptBy.length === 0) plan.going.push(id)
  plan.count++
}

const machinesOf = async ({ catalog, tenant, params }: PruneRequest): Promise<string[]> => {
  const { machine, group, plan } = params
  if ([machine, group, plan].filter((one) => one !== null).length > 1)
    throw new VarveError('PARAMS_INVALID', 'name a machine, a group or a plan: one of them')
  if (machine !== null) return [machine]
  if (plan === null) return catalog.machines.members({ tenant: tenant.id, group })
  await catalog.plans.get({ tenant: tenant.id, name: plan })
  const planOf = coveringOf(await catalog.plans.list({ tenant: tenant.id }))
  const machines = await catalog.plans.machines({ tenant: tenant.id })
  return machines.filter((one) => planOf(one)?.name === plan).map(({ name }) => name)
}

const rulesOf = async ({ catalog, tenant, params }: PruneRequest, machine: string): Promise<PruneRules> =>
  params.rules ?? (await catalog.plans.of({ tenant: tenant.id, machine })) ?? PLAN_RULES_DEFAULT

const planByRules = async (request: PruneRequest): Promise<Plan> => {
  const plan: Plan = { going: [], goingRows: [], keptRows: [], count: 0 }
  const { catalog, tenant, nowMs } = request
  for (const machine of await machinesOf(request)) {
    const rules = await rulesOf(request, machine)
    const points = await catalog.retention.points({ tenant: tenant.id, machine })
    for (const { point, keptBy } of planRetention(points, rules, nowMs)) addTo(plan, point, [...keptBy])
  }
  return plan
}

const planNamed = async ({ catalog, tenant, params, nowMs }: PruneRequest, named: string[]): Promise<Plan> => {
  if (params.machine !== null || params.group !== null || params.plan !== null || params.rules !== null)
    throw new VarveError('PARAMS_INVALID', 'name either points, or a machine, group, plan or rules: not both')
  const plan: Plan = { going: [], goingRows: [], keptRows: [], count: 0 }
  const ids = new Set<string>()
  for (const prefix of named) ids.add((await catalog.points.find({ tenant: tenant.id, agent: null, prefix })).id)
  for (const id of ids) {
    const point = await catalog.retention.point({ tenant: tenant.id, id })
    addTo(plan, point, params.dryRun ? protectedBy(point, nowMs) : [])
  }
  return plan
}

/** The result of a plan; points found protected at the last moment count as kept. */
const resultOf = (
  plan: Plan,
  left: ReadonlyMap<string, PrunedPoint['keptBy']>,
  removed: number,
): Result<'points.prune'> => {
  const rows = [...plan.goingRows, ...plan.keptRows].map((row) => ({
    ...row,
    keptBy: left.get(row.point) ?? row.keptBy,
  }))
  const going = rows.filter(({ keptBy }) => keptBy.length === 0)
  const kept = rows.filter(({ keptBy }) => keptBy.length > 0)
  return { points: [...going, ...kept].slice(0, PRUNE_POINTS_MAX), pointCount: plan.count, removed }
}

/**
 * Plans by the machines' plans (or the rules given) and, unless it is a dry run, removes what they do not keep; or removes just
 * the points named. NOT_FOUND, AMBIGUOUS, PARAMS_INVALID; POINT_HELD where a named point may not be removed, and then none is.
 */
export const prune = async (request: PruneRequest): Promise<Result<'points.prune'>> => {
  const { catalog, tenant, params, nowMs, by } = request
  const named = params.points !== null
  const plan = params.points === null ? await planByRules(request) : await planNamed(request, params.points)
  if (params.dryRun) return resultOf(plan, new Map(), plan.going.length)
  const left = new Map<string, PrunedPoint['keptBy']>()
  let removed = 0
  // of points that a person named all are removed or none
  const step = named ? REMOVED_POINTS_MAX : STEP_POINTS
  for (let from = 0; from < plan.going.length; from += step) {
    const points = plan.going.slice(from, from + step)
    failpoint('prune')
    const done = await catalog.points.remove({ tenant: tenant.id, points, named, nowMs, by })
    for (const { id, reason } of done.left) left.set(id, [reason])
    removed += done.removed
  }
  return resultOf(plan, left, removed)
}
