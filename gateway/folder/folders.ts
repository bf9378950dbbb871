// Folders and small files whose names survive power loss.
import { constants } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { hasCode } from '../common/store-error.ts'

/** Only the gateway's own user may look into the data folder. */
export const FOLDER_MODE = 0o700
const FILE_MODE = 0o600

/** Makes the names in a folder survive power loss. */
export const syncFolder = async (folder: string): Promise<void> => {
  await using handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  await handle.sync()
}

/** Makes a folder, if needed, whose name survives power loss; its parent must exist. */
export const makeFolder = async (folder: string): Promise<void> => {
  try {
    await mkdir(folder, FOLDER_MODE)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  }
  // also when it was there: whoever made it may not have come to sync it
  await syncFolder(path.dirname(path.resolve(folder)))
}

/** Writes a small file for its owner only, whole or not at all, in place of what has its name; it survives power loss when this returns. */
export const layFile = async (file: string, text: string): Promise<void> => {
  const fresh = `${file}.new`
  // what a crash left; and a pipe of this name must not keep us waiting for its other end
  await rm(fresh, { force: true })
  {
    await using handle = await open(fresh, 'wx', FILE_MODE)
    await handle.writeFile(text)
    await handle.sync()
  }
  await rename(fresh, file)
  await syncFolder(path.dirname(file))
}
