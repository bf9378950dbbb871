// Files whose names and content survive power loss.
import { constants } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import path from 'node:path'

const FILE_MODE = 0o600

/** Makes the names in a folder survive power loss. */
export const syncFolder = async (folder: string): Promise<void> => {
  await using handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  await handle.sync()
}

/** Writes a new file for its owner only, synced, under a name that nothing has yet; EEXIST. A failure may leave a part of it. */
export const writeNew = async (file: string, content: string | Uint8Array): Promise<void> => {
  await using handle = await open(file, 'wx', FILE_MODE)
  await handle.writeFile(content)
  await handle.sync()
}

/** Writes a small file for its owner only, whole or not at all, in place of what has its name; it survives power loss when this returns. */
export const layFile = async (file: string, content: string | Uint8Array): Promise<void> => {
  const fresh = `${file}.new`
  // what a crash left; and a pipe of this name must not keep us waiting for its other end
  await rm(fresh, { force: true })
  await writeNew(fresh, content)
  await rename(fresh, file)
  await syncFolder(path.dirname(file))
}
