// How long a plan locks a new restore point.
import type { Tenant } from '../catalog/tenants.ts'
import { PLAN_RULES_DEFAULT } from '../../protocol/plans.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { Catalog } from '../catalog/catalog.ts'

/**
 * Until when its plan locks a point of this machine that is committed now, in milliseconds since 1970; null where none
 * does.
 */
export const lockOfNewPoint = async (
  catalog: Catalog,
  tenant: Tenant,
  machine: string,
  nowMs: number,
): Promise<number | null> => {
  const { lockDays } = (await catalog.plans.of({ tenant: tenant.id, machine })) ?? PLAN_RULES_DEFAULT
  return lockDays === 0 ? null : nowMs + Math.ceil(lockDays * DAY_MS)
}
