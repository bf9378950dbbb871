// The base of a backup as its agent is given it.
import type { Params } from '../../protocol/methods.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { BasePoint } from '../catalog/reads.ts'
import type { Tenant } from '../catalog/tenants.ts'
import type { Datastore } from '../datastore/datastore.ts'

/** How long a backup waits for damage of its base to be attributed, in milliseconds; later findings are for the next one. */
const ATTRIBUTION_LIMIT_MS = 10_000

/** A base with its disks' lost ranges as far as they are known by now. */
export const baseFor = async (
  datastore: Datastore,
  clock: Clock,
  tenant: Tenant,
  { point, agent, checkpoint }: BasePoint,
): Promise<Params<'agent.backup'>['base']> => {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const stopTimer = clock.after(ATTRIBUTION_LIMIT_MS, resolve)
  await Promise.race([datastore.tenantStore(tenant).quarantine.attributed(), late])
  stopTimer()
  const disks = await datastore.catalog.lost.reread({ tenant: tenant.id, point })
  return { checkpoint: checkpoint ? point : null, agent, disks }
}
