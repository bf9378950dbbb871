// Files whose names and content survive power loss.
import { constants } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import path from 'node:path'

const FILE_MODE = 0o600

/** Syncs a folder, so that the names in it survive power loss. */
export const syncFolder = async (folder: string): Promise<void> => {
  await using handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  await handle.sync()
}

/** Writes a new file for its owner only, synced, under an unused name; EEXIST. A failure may leave part of it. */
export const writeNew = async (file: string, content: string | Uint8Array): Promise<void> => {
  await using handle = await open(file, 'wx', FILE_MODE)
  await handle.writeFile(content)
  await handle.sync()
}

/** Atomically writes a small file for its owner only, replacing what has its name; durable when this returns. */
export const layFile = async (file: string, content: string | Uint8Array): Promise<void> => {
  const fresh = `${file}.new`
  // left by a crash; and opening a pipe of this name would block
  await rm(fresh, { force: true })
  await writeNew(fresh, content)
  await rename(fresh, file)
  await syncFolder(path.dirname(file))
}
