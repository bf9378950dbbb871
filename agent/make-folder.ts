// Makes a folder and those above it. Node's own recursive mkdir never ends where a file system takes no folders, such as /proc.
import { mkdir, stat } from 'node:fs/promises'
import path from 'node:path'

const hasCode = (error: unknown, code: string): boolean => (error as NodeJS.ErrnoException).code === code

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

/** Makes what is missing, each with `mode`; the result is the first folder that had to be made. The system's error. */
export const makeFolder = async (folder: string, mode: number): Promise<string | undefined> => {
  const missing: string[] = []
  for (let at = path.resolve(folder); !(await isThere(at)); at = path.dirname(at)) missing.unshift(at)
  for (const one of missing)
    await mkdir(one, { mode }).catch((error: unknown) => {
      // another process was faster
      if (!hasCode(error, 'EEXIST')) throw error
    })
  return missing[0]
}
