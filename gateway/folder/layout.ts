// Names of what lies in a gateway's data folder.
import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { isUuid } from '../packs/format.ts'
import { hasCode } from '../../protocol/host/system-error.ts'

/** The catalog and chunk index; the command line opens it beside a running gateway. */
export const CATALOG_NAME = 'catalog.db'

/** Its lock is held by the gateway that has the datastore open. */
export const LOCK_NAME = 'lock.db'

/** Its lock is shared by commands that use the catalog, and held alone by a rebuild. */
export const CATALOG_LOCK_NAME = 'catalog.lock'

/** How the last clean stop left the catalog. */
export const CLEAN_NAME = 'catalog.clean'

/** The folder of packs. */
export const PACKS_NAME = 'packs'

/** The marker in it, and what that is written as first. */
export const MARKER_NAME = '.varve-packs'
export const NEW_MARKER_NAME = `${MARKER_NAME}.new`

/** The number of acknowledged changes in it, and what that is written as first. */
export const EPOCH_NAME = '.varve-epoch'
export const NEW_EPOCH_NAME = `${EPOCH_NAME}.new`

/** The folder of ballast in the data folder; in the folder of packs where that lies on a file system of its own. */
export const BALLAST_NAME = 'ballast'
export const PACKS_BALLAST_NAME = '.varve-ballast'

/** A file that is made to see whether there is any space, and removed. */
export const PROBE_NAME = 'ballast.probe'

/** Names in the folder of packs that are ours and no packs. */
export const OWN_NAMES: ReadonlySet<string> = new Set([
  MARKER_NAME,
  NEW_MARKER_NAME,
  EPOCH_NAME,
  NEW_EPOCH_NAME,
  PACKS_BALLAST_NAME,
  PROBE_NAME,
])

/** Ending of a pack's file. */
export const PACK_SUFFIX = '.pack'

const entriesOf = (folder: string): string[] => {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return []
    throw error
  }
}

/** Whether a data folder has a catalog; an empty file is none. */
export const hasCatalog = (folder: string): boolean =>
  (statSync(path.join(folder, CATALOG_NAME), { throwIfNoEntry: false })?.size ?? 0) > 0

/** Whether there is any pack in a data folder. */
export const hasPacks = (folder: string): boolean => {
  const packs = path.join(folder, PACKS_NAME)
  return entriesOf(packs)
    .filter(isUuid)
    .some((tenant) =>
      entriesOf(path.join(packs, tenant)).some((prefix) =>
        entriesOf(path.join(packs, tenant, prefix)).some((file) => file.endsWith(PACK_SUFFIX)),
      ),
    )
}
