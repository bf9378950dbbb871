// Checks what belongs to no single tenant: the catalog's own pages and counts, its age, and packs of unknown tenants.
import path from 'node:path'
import { asVarveError } from '../../protocol/errors.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { openThread } from '../catalog/sqlite/database.ts'
import { PACKS_SETTING } from '../catalog/sqlite/store-version.ts'
import { openPackStore, packNotes, packStoreIn, type PackStoreSpec } from '../packs/open-pack-store.ts'
import { olderEpochText } from '../catalog/older-catalog.ts'
import { CATALOG_NAME } from '../folder/layout.ts'
import { readPackHeader } from '../packs/pack-scan.ts'

/** Unknown tenants of packs that are named. */
const TENANTS_NAMED_MAX = 100

const unknownTenants = async (packs: PackStoreSpec, catalog: Catalog): Promise<string[]> => {
  await using store = await openPackStore(packs, await catalog.settings.get({ name: PACKS_SETTING }))
  const unknown = new Map<string, number>()
  const known = new Set<string>()
  for await (const entry of store.list()) {
    if (!('name' in entry)) continue
    const { tenant } = entry.name
    if (known.has(tenant)) continue
    if (!unknown.has(tenant) && (await catalog.tenants.byId({ id: tenant })) !== null) {
      known.add(tenant)
      continue
    }
    const ours = await readPackHeader(store, entry.name).then(
      () => true,
      (thrown: unknown) => asVarveError(thrown).code === 'STORE_VERSION',
    )
    if (ours) unknown.set(tenant, (unknown.get(tenant) ?? 0) + 1)
  }
  return [...unknown]
    .slice(0, TENANTS_NAMED_MAX)
    .map(([tenant, packs]) => `${packs} packs are of a tenant that the catalog does not know: ${tenant}`)
}

/**
 * Everything of this kind that a start would refuse, in words; STORE_FAILED where the folder of packs is not there. It has a
 * connection of its own: for a look at every page of the catalog neither backups nor listings wait.
 */
export const folderProblems = async (folder: string): Promise<string[]> => {
  await using catalog = await openThread(path.join(folder, CATALOG_NAME))
  const packs = packStoreIn(folder)
  const epoch = packNotes(packs).epoch()
  const older = olderEpochText(epoch, await catalog.condition.acknowledged())
  const damage = (await catalog.condition.examine({ trusted: false })).map((text) => `the catalog is damaged: ${text}`)
  return [...damage, ...(older === null ? [] : [older]), ...(await unknownTenants(packs, catalog))]
}
