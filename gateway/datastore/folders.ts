// Folders whose names survive power loss.
import { constants } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import path from 'node:path'
import { hasCode } from './store-error.ts'

/** Only the gateway's own user may look into the data folder. */
const FOLDER_MODE = 0o700

/** Makes the names in a folder survive power loss. */
export const syncFolder = async (folder: string): Promise<void> => {
  await using handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  await handle.sync()
}

/** Makes a folder, if needed, whose name survives power loss; its parent must exist unless `recursive`. */
export const makeFolder = async (folder: string, options: { recursive: boolean }): Promise<void> => {
  try {
    await mkdir(folder, { mode: FOLDER_MODE, recursive: options.recursive })
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  }
  // also when it was there: whoever made it may not have come to sync it
  await syncFolder(path.dirname(path.resolve(folder)))
}
