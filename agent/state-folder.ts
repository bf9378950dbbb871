// The state folder's making, and what the system's errors mean for it.
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { VarveError } from '../protocol/errors.ts'
import { makeFolder } from './make-folder.ts'

/** The state folder may be entered by others, because a QEMU of another user opens its scratch files in there; nothing in it can be listed or read. */
export const STATE_FOLDER_MODE = 0o711

/** What the system's errors mean for a state folder, with the way out. */
const WAYS: Readonly<Record<string, string>> = {
  ENOENT: 'its file system makes no folders there (is it one of the system, such as /proc?)',
  ENOTDIR: 'a part of this path is a file and no folder',
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

/** Makes the state folder, and those above it, where it is not there; gives those that it made. CONFIG_INVALID, also where this user may not write into it. */
export const makeStateFolder = async (state: string): Promise<string[]> => {
  try {
    const made = await makeFolder(state, STATE_FOLDER_MODE)
    await access(state, constants.W_OK | constants.X_OK)
    return made
  } catch (error) {
    throw refusal(state, error)
  }
}
