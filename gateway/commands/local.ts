// What the commands beside a gateway share: its data folder, a tenant by name.
import type { Tenant } from '../catalog/tenants.ts'
import { statSync } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { openAuthority, type Authority } from '../auth/authority.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { Ballast } from '../folder/ballast.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { openLocal } from '../catalog/sqlite/database.ts'
import { CatalogLock } from '../catalog/sqlite/catalog-lock.ts'
import { CATALOG_NAME, hasCatalog } from '../folder/layout.ts'
import { packNotes, packStoreIn } from '../packs/open-pack-store.ts'
import { makeDataFolder, refusalOf } from '../folder/new-folder.ts'
import { accessError, checkOwner } from '../folder/owner.ts'
import { storeError } from '../common/store-error.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { checkCatalogVersion } from '../catalog/sqlite/store-version.ts'

export const DATA_DEFAULT = '/var/lib/varve-gateway'

/** Whether the folder is there; CONFIG_INVALID where this user may not know. */
const isThere = (folder: string): boolean => {
  try {
    return statSync(folder, { throwIfNoEntry: false }) !== undefined
  } catch (thrown) {
    throw pathError(folder, thrown)
  }
}

/** Errors of a path that no folder can have. */
const PATH_CODES = ['ENAMETOOLONG', 'ELOOP']

const pathError = (folder: string, thrown: unknown): VarveError =>
  PATH_CODES.some((code) => hasCode(thrown, code))
    ? refusalOf(folder, 'looking at it', thrown)
    : usageError(folder, thrown)

/** Makes the folder of a datastore that is not there yet; what is there must be this user's, and is left as it is. CONFIG_INVALID. */
export const makeFirst = async (folder: string): Promise<void> => {
  try {
    if (hasCatalog(folder) || packNotes(packStoreIn(folder)).hasPacks()) return checkOwner(folder)
  } catch (thrown) {
    throw pathError(folder, thrown)
  }
  await makeDataFolder(folder)
}

/**
 * Looks at a data folder before a command uses it, and makes nothing in it. CONFIG_INVALID where it is not there, belongs to another user or,
 * unless the command makes one (`make`), has no catalog; CATALOG_MISSING where it has packs without one; STORE_VERSION, STORE_FAILED.
 */
export const checkData = async (folder: string, { make = false } = {}): Promise<void> => {
  if (!isThere(folder))
    throw new VarveError('CONFIG_INVALID', `there is no data folder ${folder}; name the gateway's with --data DIR`)
  checkOwner(folder)
  if (make) await makeFirst(folder)
  try {
    const catalog = path.join(folder, CATALOG_NAME)
    Ballast.beside(catalog).draw(() => checkCatalogVersion(catalog, { epoch: true }))
  } catch (thrown) {
    throw usageError(folder, thrown)
  }
  if (!make && !hasCatalog(folder))
    throw new VarveError(
      'CONFIG_INVALID',
      `${folder} is not a gateway's data folder, or its disk is not mounted: it has no ${CATALOG_NAME}; name the gateway's with --data DIR`,
    )
}

/** Holds a rebuild of the catalog off, for as long as a command uses it; STORE_LOCKED while one runs, STORE_FAILED. */
export const holdCatalog = (folder: string): CatalogLock => {
  try {
    return Ballast.beside(path.join(folder, CATALOG_NAME)).draw(() => CatalogLock.share(folder))
  } catch (thrown) {
    throw usageError(folder, thrown)
  }
}

/** What using a data folder failed with, in words that say what to do; CONFIG_INVALID for want of permission, STORE_FULL, STORE_FAILED. */
export const usageError = (folder: string, thrown: unknown): VarveError =>
  storeError(accessError(thrown, folder), `using the data folder ${folder}`)

/**
 * Opens the catalog of a running or stopped gateway for one short command, with `make` also where there is none yet.
 * CONFIG_INVALID, CATALOG_MISSING, STORE_LOCKED while it is rebuilt, STORE_VERSION, STORE_FAILED.
 */
export const withCatalog = async <R>(
  folder: string,
  work: (catalog: Catalog) => Promise<R>,
  { make = false } = {},
): Promise<R> => {
  await checkData(folder, { make })
  using _held = holdCatalog(folder)
  try {
    using catalog = openLocal(path.join(folder, CATALOG_NAME))
    return await work(catalog)
  } catch (thrown) {
    throw usageError(folder, thrown)
  }
}

export const withAuthority = <R>(folder: string, work: (authority: Authority) => Promise<R>): Promise<R> =>
  withCatalog(folder, async (catalog) => work(await openAuthority({ folder, catalog, nowMs: systemClock.now() })))

/** A tenant by name; NOT_FOUND names those that may be meant, and says how to add one. */
export const tenantNamed = (catalog: Catalog, name: string): Promise<Tenant> => catalog.tenants.named({ name })

/** Of a datastore without any tenant. */
export const NO_TENANT = 'There is no tenant yet; add one with: varve-gateway tenant add NAME'
