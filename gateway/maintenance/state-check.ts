// Reads the copy of a tenant's state that is in the packs.
import { equalBytes } from '../../protocol/chunk.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { splitIds } from '../../protocol/host/bytes.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import { damageOf, type Damage } from '../packs/damage.ts'
import { RECORD } from '../packs/format.ts'

/** What is damaged of a tenant's state; nothing where it was replaced meanwhile. STORE_FAILED. */
export const damageOfState = async (
  { states }: Pick<Catalog, 'states'>,
  store: Pick<TenantStore, 'tenant' | 'readRecord'>,
): Promise<Damage[]> => {
  const of = { tenant: store.tenant.id }
  const before = await states.records(of)
  const damages: Damage[] = []
  for (const id of splitIds(before)) {
    const error = await store.readRecord(id).then(
      () => null,
      (thrown: unknown) => asVarveError(thrown),
    )
    if (error === null) continue
    if (error.code !== 'DATA_DAMAGED') throw error
    // it may have been replaced, and then collected, meanwhile
    if (!equalBytes(before, await states.records(of))) return []
    const damage = damageOf(error, RECORD.state)
    if (damage !== null) damages.push(damage)
  }
  return damages
}

/** Reads the state in the packs, writes it again where it is damaged or changed; what was damaged. STORE_FULL, STORE_FAILED. */
export const refreshState = async (catalog: Pick<Catalog, 'states'>, store: TenantStore): Promise<number> => {
  const damages = await damageOfState(catalog, store)
  if (damages.length > 0) {
    await store.quarantine.enter(damages)
    await catalog.states.spoil({ tenant: store.tenant.id })
  }
  await store.writeState()
  return damages.length
}
