// How long retention locks a new restore point.
import type { Tenant } from '../catalog/tenants.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { Catalog } from '../catalog/catalog.ts'

/**
 * Until when the nearest policy locks a point of this machine that is committed now, in milliseconds since 1970; null where none
 * does.
 */
export const lockOfNewPoint = async (
  catalog: Catalog,
  tenant: Tenant,
  machine: string,
  nowMs: number,
): Promise<number | null> => {
  const rules = await catalog.retention.of({ tenant: tenant.id, machine })
  if (rules === null) return null
  const { lockDays } = rules
  return lockDays === 0 ? null : nowMs + Math.ceil(lockDays * DAY_MS)
}
