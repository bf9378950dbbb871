// What a data folder must be before a gateway is opened in it, and the errors for one that is not.
import { statSync } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { CatalogLock } from '../catalog/sqlite/catalog-lock.ts'
import { checkCatalogVersion } from '../catalog/sqlite/store-version.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { storeError } from '../common/store-error.ts'
import { Ballast } from '../folder/ballast.ts'
import { CATALOG_NAME, hasCatalog } from '../folder/layout.ts'
import { makeDataFolder, refusalOf } from '../folder/new-folder.ts'
import { accessError, checkOwner } from '../folder/owner.ts'
import { packNotes, packStoreIn } from '../packs/open-pack-store.ts'

/** Whether the folder is there; CONFIG_INVALID where this user may not see that. */
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
  hasCode(thrown, ...PATH_CODES) ? refusalOf(folder, 'looking at it', thrown) : usageError(folder, thrown)

/** Why using a data folder failed, with the way out; CONFIG_INVALID for lack of permission, STORE_FULL, STORE_FAILED. */
export const usageError = (folder: string, thrown: unknown): VarveError =>
  storeError(accessError(thrown, folder), `using the data folder ${folder}`)

/**
 * Makes the folder of a datastore that is not there yet; what is there must be this user's, and is left as it is.
 * CONFIG_INVALID.
 */
export const makeFirst = async (folder: string): Promise<void> => {
  try {
    if (hasCatalog(folder) || packNotes(packStoreIn(folder)).hasPacks()) return checkOwner(folder)
  } catch (thrown) {
    throw pathError(folder, thrown)
  }
  await makeDataFolder(folder)
}

/**
 * Looks at a data folder before a command opens a gateway in it, and makes nothing unless `make`. CONFIG_INVALID where it is not
 * there, belongs to another user or, without `make`, has no catalog; CATALOG_MISSING where it has packs without one; STORE_LOCKED
 * while its catalog is rebuilt; STORE_VERSION, STORE_FAILED.
 */
export const checkDataFolder = async (folder: string, { make = false } = {}): Promise<void> => {
  if (!isThere(folder))
    throw new VarveError('CONFIG_INVALID', `there is no data folder ${folder}; name the gateway's with --data DIR`)
  checkOwner(folder)
  if (make) await makeFirst(folder)
  const catalog = path.join(folder, CATALOG_NAME)
  try {
    Ballast.beside(catalog).draw(() => checkCatalogVersion(catalog, { epoch: true }))
  } catch (thrown) {
    throw usageError(folder, thrown)
  }
  if (!make && !hasCatalog(folder))
    throw new VarveError(
      'CONFIG_INVALID',
      `${folder} is not a gateway's data folder, or its disk is not mounted: it has no ${CATALOG_NAME}; name the gateway's with --data DIR`,
    )
  try {
    // a running rebuild has its own message here; one that begins later meets the gateway's lock
    Ballast.beside(catalog).draw(() => CatalogLock.share(folder)[Symbol.dispose]())
  } catch (thrown) {
    throw usageError(folder, thrown)
  }
}
