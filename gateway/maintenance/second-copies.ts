// Looks for other copies of damaged records: in the packs that hold damage, and in all packs of tree nodes while a node is lost.
import type { MaintenanceContext } from './context.ts'
import type { PackProof } from './pack-proof.ts'

/**
 * Returns whole copies of damaged records to the index, wherever they lie in those packs: the index may have named a wrong place,
 * and racing uploads or an interrupted collection may have left a second copy. Reads only those data packs that hold damage.
 * STORE_FAILED.
 */
export const findCopies = async (
  { datastore, tenant, signal }: MaintenanceContext,
  proof: PackProof,
): Promise<void> => {
  const { catalog } = datastore
  const damaged = new Set(await catalog.damage.packs({ tenant: tenant.id }))
  const nodes = await catalog.damage.nodes({ tenant: tenant.id })
  const isLookedAt = ({ uuid, kind }: { readonly uuid: string; readonly kind: string }): boolean =>
    damaged.has(uuid) || (nodes && kind === 'nodes')
  for (const { uuid } of (await catalog.collection.packs({ tenant: tenant.id })).filter(isLookedAt)) {
    signal.throwIfAborted()
    await proof.isFree(uuid)
  }
}
