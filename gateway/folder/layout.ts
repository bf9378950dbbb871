// Names of what lies in a gateway's data folder.
import { statSync } from 'node:fs'
import path from 'node:path'

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

/** The folder of ballast in the data folder; in the folder of packs where that lies on a file system of its own. */
export const BALLAST_NAME = 'ballast'
export const PACKS_BALLAST_NAME = '.varve-ballast'

/** A file that is made to see whether there is any space, and removed. */
export const PROBE_NAME = 'ballast.probe'

/** Whether a data folder has a catalog; an empty file is none. */
export const hasCatalog = (folder: string): boolean =>
  (statSync(path.join(folder, CATALOG_NAME), { throwIfNoEntry: false })?.size ?? 0) > 0
