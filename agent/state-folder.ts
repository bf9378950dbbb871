// The state folder's making: level by level, as Node's own way loops for ever on a file system that makes no folders, such as /proc.
import { constants, existsSync, statSync } from 'node:fs'
import { access, mkdir, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../protocol/errors.ts'

/** The state folder may be entered by others, because a QEMU of another user opens its scratch files in there; nothing in it can be listed or read. */
export const STATE_FOLDER_MODE = 0o711

/** What the system's errors mean for a state folder, with the way out. */
const WAYS: Readonly<Record<string, string>> = {
  ENOENT: 'its file system makes no folders there (is it one of the system, such as /proc?)',
  ENOTDIR: 'a part of this path is a file and no folder',
  EEXIST: 'there is something that is no folder',
  EACCES: 'this user may not write there: run this as the user that runs the agent',
  EPERM: 'the system does not allow it there',
  EROFS: 'its file system can only be read',
  ENAMETOOLONG: 'its name is longer than a file system takes',
  ENOSPC: 'its file system has no space left',
}

const refusal = (state: string, cause: unknown): VarveError => {
  const { code = '', message } = cause as NodeJS.ErrnoException
  return new VarveError('CONFIG_INVALID', `${state} cannot be the state folder ("state"): ${WAYS[code] ?? message}`, {
    cause,
  })
}

const isFolder = (file: string): boolean => {
  try {
    return statSync(file).isDirectory()
  } catch {
    return false
  }
}

/** Makes the state folder, and those above it, where it is not there; gives those that it made. CONFIG_INVALID, also where this user may not write into it. */
export const makeStateFolder = async (state: string): Promise<string[]> => {
  const made: string[] = []
  const missing: string[] = []
  for (let one = state; !existsSync(one) && one !== path.dirname(one); one = path.dirname(one)) missing.unshift(one)
  for (const one of missing) {
    try {
      await mkdir(one, STATE_FOLDER_MODE)
      made.push(one)
    } catch (error) {
      if (isFolder(one)) continue
      await removeFolders(made)
      throw refusal(state, error)
    }
  }
  if (!isFolder(state)) throw refusal(state, { code: 'EEXIST' })
  try {
    await access(state, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw refusal(state, error)
  }
  return made
}

/** Takes back folders that were made and are empty. */
export const removeFolders = async (made: readonly string[]): Promise<void> => {
  for (const one of made.toReversed()) await rmdir(one).catch(() => undefined)
}
