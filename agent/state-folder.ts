// Makes the state folder, and explains the system's errors about it.
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { VarveError } from '../protocol/errors.ts'
import { makeFolder } from './make-folder.ts'

/** Others may enter the state folder, as a QEMU of another user opens its scratch files there; they can list and read nothing. */
export const STATE_FOLDER_MODE = 0o711

/** What the system's errors mean for a state folder, with the way out. */
const WAYS: Readonly<Record<string, string>> = {
  ENOENT: 'no folder can be made there (is it a system file system, such as /proc?)',
  ENOTDIR: 'a part of this path is a file, not a folder',
  EACCES: 'this user may not write there: run this as the user that runs the agent',
  EPERM: 'the system does not permit it there',
  EROFS: 'its file system is read-only',
  ENAMETOOLONG: 'its name is too long for the file system',
  ENOSPC: 'its file system has no space left',
}

const refusal = (state: string, cause: unknown): VarveError => {
  const { code = '', message } = cause as NodeJS.ErrnoException
  return new VarveError('CONFIG_INVALID', `${state} cannot be the state folder ("state"): ${WAYS[code] ?? message}`, {
    cause,
  })
}

/** Makes the state folder and its parents where missing, and returns those made; CONFIG_INVALID, also if not writable. */
export const makeStateFolder = async (state: string): Promise<string[]> => {
  try {
    const made = await makeFolder(state, STATE_FOLDER_MODE)
    await access(state, constants.W_OK | constants.X_OK)
    return made
  } catch (error) {
    throw refusal(state, error)
  }
}
