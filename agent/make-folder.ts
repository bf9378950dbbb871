// Makes a folder and its parents. Node's own recursive mkdir never ends on a file system without folders, such as /proc.
import { mkdir, rmdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { hasCode } from '../protocol/host/system-error.ts'

/** The folder where it is missing; nothing where it is there. ENOTDIR for something else. */
const isThere = async (folder: string): Promise<boolean> => {
  try {
    if ((await stat(folder)).isDirectory()) return true
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
  throw Object.assign(new Error(`ENOTDIR: ${folder} is not a folder`), { code: 'ENOTDIR', path: folder })
}

/** Makes missing folders, each with `mode`, and returns them from the top; after an error of the system none of them stays. */
export const makeFolder = async (folder: string, mode: number): Promise<string[]> => {
  const missing: string[] = []
  for (let at = path.resolve(folder); !(await isThere(at)); at = path.dirname(at)) missing.unshift(at)
  const made: string[] = []
  for (const one of missing) {
    try {
      await mkdir(one, { mode })
      made.push(one)
    } catch (error) {
      // another process was faster
      if (hasCode(error, 'EEXIST')) continue
      await removeFolders(made)
      throw error
    }
  }
  return made
}

/** Removes folders that were made and are empty. */
export const removeFolders = async (made: readonly string[]): Promise<void> => {
  for (const one of made.toReversed()) await rmdir(one).catch(() => undefined)
}
