// Secrets on disk: small files that only their owner may read.
import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { VarveError } from '../errors.ts'
import { syncFolder, writeNew } from './durable.ts'
import { hasCode } from './system-error.ts'

/** A secret under a temporary name. */
const TEMPORARY = /^\.[0-9a-f-]{36}\.tmp$/u

/** Writes a secret into a folder under a temporary name, which is the result; several processes may do so at once. */
export const writeUnnamed = async (folder: string, text: string): Promise<string> => {
  const temporary = path.join(folder, `.${randomUUID()}.tmp`)
  try {
    await writeNew(temporary, text)
    return temporary
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** Atomically writes a secret, replacing what has its name; durable when this returns. */
export const writeSecret = async (folder: string, name: string, text: string): Promise<void> => {
  const temporary = await writeUnnamed(folder, text)
  try {
    await rename(temporary, path.join(folder, name))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await syncFolder(folder)
}

/** Removes temporary files of killed processes; only for the holder of the folder's lock. */
export const removeUnnamed = async (folder: string): Promise<void> => {
  for (const name of await readdir(folder)) if (TEMPORARY.test(name)) await rm(path.join(folder, name), { force: true })
}

/** Why a file is not accepted as a secret. */
export type SecretFault = 'no file' | 'open to others' | 'too large'

/** The text of a secret of at most `bytesMax`; null without one. The system's error, or `refusal`'s for an unsafe file. */
export const readSecret = async (
  file: string,
  bytesMax: number,
  refusal: (fault: SecretFault) => VarveError,
): Promise<string | null> => {
  // opening a pipe of this name must not block
  await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return null
    throw error
  })
  if (handle === null) return null
  const stats = await handle.stat()
  if (!stats.isFile()) throw refusal('no file')
  if ((stats.mode & 0o077) !== 0) throw refusal('open to others')
  if (stats.size > bytesMax) throw refusal('too large')
  return await handle.readFile('utf8')
}
