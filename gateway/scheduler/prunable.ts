// A look whether the plans of a tenant would have anything removed: most prunes would remove nothing, and need not be runs.
import type { Catalog } from '../catalog/catalog.ts'
import { isOff, planRetention } from '../maintenance/retention.ts'
import { coveringOf } from '../plans/covering.ts'

/** Whether a prune of the tenant would remove a restore point now; it ends at the first one. */
export const isPrunable = async (
  catalog: Pick<Catalog, 'plans' | 'retention'>,
  tenant: string,
  nowMs: number,
): Promise<boolean> => {
  const planOf = coveringOf(await catalog.plans.list({ tenant }))
  for (const machine of await catalog.plans.machines({ tenant })) {
    const plan = planOf(machine)
    if (plan === null || isOff(plan.keep)) continue
    const points = await catalog.retention.points({ tenant, machine: machine.name })
    if (planRetention(points, plan, nowMs).some(({ keptBy }) => keptBy.length === 0)) return true
  }
  return false
}
