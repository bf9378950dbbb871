// Folders whose names survive power loss.
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { syncFolder } from '../../protocol/host/durable.ts'
import { hasCode } from '../../protocol/host/system-error.ts'

/** Only the gateway's own user may look into the data folder. */
export const FOLDER_MODE = 0o700

/** Makes a folder, if needed, whose name survives power loss; its parent must exist. */
export const makeFolder = async (folder: string): Promise<void> => {
  try {
    await mkdir(folder, FOLDER_MODE)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  }
  // also when it exists: its creator may not have synced it yet
  await syncFolder(path.dirname(path.resolve(folder)))
}
