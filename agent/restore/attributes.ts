// Copies owner, group, mode, access control lists, extended attributes and security label of a replaced file to the new one.
import { execFile } from 'node:child_process'
import { chmod, chown, stat } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** How long copying attributes may take, in milliseconds. */
const COPY_LIMIT_MS = 30_000

const MODE_BITS = 0o7777

/**
 * Gives `to` the owner and rights of `from`. The result is a sentence about what this user may not give; null where all
 * is as it was.
 */
export const keepAttributes = async (from: string, to: string): Promise<string | null> => {
  const before = await stat(from)
  // access control lists, attributes and labels as far as both file systems have them; Node has no calls for them
  const copy = ['--attributes-only', '--preserve=all', '--no-preserve=timestamps,links', '--', from, to]
  await run('cp', copy, { timeout: COPY_LIMIT_MS }).catch(() => undefined)
  const given = await stat(to)
  if (given.uid !== before.uid || given.gid !== before.gid)
    await chown(to, before.uid, before.gid).catch(() => undefined)
  const mode = before.mode & MODE_BITS
  const { uid, gid } = await stat(to)
  const same = uid === before.uid && gid === before.gid
  // another owner's or group's rights must not pass to this one; a new owner clears some bits, so these come last
  await chmod(to, same ? mode : mode & 0o700)
  if (same) return null
  return `its owner and group ${before.uid}:${before.gid} could not be kept, it now belongs to ${uid}:${gid}: restore them with "chown ${before.uid}:${before.gid}" and "chmod ${mode.toString(8)}"`
}

/** The remark about a file with other names (hard links); null where it has only one. */
export const otherNames = async (file: string): Promise<string | null> => {
  const { nlink } = await stat(file)
  if (nlink < 2) return null
  const names =
    nlink === 2 ? 'another name (a hard link), which keeps' : `${nlink - 1} other names (hard links), which keep`
  return `the file that was replaced has ${names} what was there before`
}
