// Looks for other copies of damaged records: in the packs that damage lies in, and in all packs of tree nodes while one of these
// is lost.
import type { MaintenanceContext } from './context.ts'
import type { PackProof } from './pack-proof.ts'

/**
 * Lets whole copies of damaged records back into the index, wherever in those packs they lie: the index may have named a wrong
 * place, uploads that raced may have left two copies, a collection that was cut short may have made one. Of data packs only those
 * are read that damage lies in. STORE_FAILED.
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
