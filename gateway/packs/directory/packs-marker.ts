// The marker in the folder of packs: it distinguishes a datastore's own packs from an empty mount point and from another
// datastore's.
import { readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { layFile } from '../../../protocol/host/durable.ts'
import { makeFolder } from '../../folder/durable-folder.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'
import { isUuid } from '../format.ts'
import { storeError } from '../../common/store-error.ts'
import { MARKER_NAME } from './names.ts'

/** Most bytes of a marker: it is a uuid and a line feed. */
const MARKER_BYTES_MAX = 64

/** The uuid in the marker of a folder of packs; null where there is no marker, no such folder, or no uuid in it. STORE_FAILED. */
export const readMarker = (root: string): string | null => {
  const file = path.join(root, MARKER_NAME)
  try {
    const found = statSync(file)
    // a pipe of this name must not keep us waiting for its other end
    if (!found.isFile() || found.size > MARKER_BYTES_MAX) return null
    const id = readFileSync(file, 'latin1').trimEnd()
    return isUuid(id) ? id : null
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null
    throw storeError(error, 'reading the marker of the folder of packs')
  }
}

/**
 * Writes a marker, atomically, into a folder of packs, which is made if needed; it survives power loss when this returns.
 * STORE_FULL, STORE_FAILED.
 */
export const layMarker = async (root: string, id: string): Promise<void> => {
  try {
    await makeFolder(root)
    await layFile(path.join(root, MARKER_NAME), `${id}\n`)
  } catch (error) {
    throw storeError(error, 'laying the marker of the folder of packs')
  }
}
