// Names of what lies in a gateway's data folder.
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { isUuid } from './format.ts'
import { hasCode } from './store-error.ts'

/** The catalog and chunk index; the command line opens it beside a running gateway. */
export const CATALOG_NAME = 'catalog.db'

/** Its lock is held by the gateway that has the datastore open. */
export const LOCK_NAME = 'lock.db'

/** The folder of packs. */
export const PACKS_NAME = 'packs'

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
