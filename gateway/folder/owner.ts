// The owner of a data folder: files of one user are unreadable to another, so all of it belongs to the user that runs the
// gateway.
import { accessSync, constants, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { CATALOG_NAME } from './layout.ts'
import { hasCode } from '../../protocol/host/system-error.ts'

const userName = (uid: number): string => {
  try {
    const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
    const user = lines.map((line) => line.split(':')).find(([, , id]) => id === String(uid))
    if (user !== undefined) return user[0]!
  } catch {
    // without a name the number is shown
  }
  return `the user with id ${uid}`
}

/** Null where nothing is there, or this user may not see it. */
const uidOf = (file: string): number | null => {
  try {
    return statSync(file).uid
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR') || hasCode(error, 'EACCES')) return null
    throw error
  }
}

/** CONFIG_INVALID unless this process runs as the owner of the catalog in the folder, or, without one, of the folder. */
export const checkOwner = (folder: string, euid: number | undefined = process.geteuid?.()): void => {
  if (euid === undefined) return
  for (const file of [path.join(folder, CATALOG_NAME), folder]) {
    const uid = uidOf(file)
    if (uid === null) continue
    if (uid === euid) return
    throw new VarveError('CONFIG_INVALID', `run this as ${userName(uid)}, the owner of ${file}`)
  }
}

/** The folder, or the first thing in it, that is not this user's. */
const strangerIn = (folder: string, euid: number | undefined): string | null => {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return null
  const names = uidOf(folder) === euid ? readdirSync(folder) : []
  return [folder, ...names.map((name) => path.join(folder, name))].find((one) => uidOf(one) !== euid) ?? null
}

/** SQLite's messages for a file that it may not open or write; its errors come from another thread, without their cause. */
const SQLITE_DENIED = /unable to open database file|attempt to write a readonly database/u

const deniedPath = (thrown: unknown, folder: string): string | null => {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    if (hasCode(error, 'EACCES') || hasCode(error, 'EPERM')) return (error as NodeJS.ErrnoException).path ?? folder
    if (SQLITE_DENIED.test(error.message)) return strangerIn(folder, process.geteuid?.())
  }
  return null
}

/** Whether the file system of a folder is read-only. */
const isReadOnly = (folder: string): boolean => {
  try {
    accessSync(folder, constants.W_OK)
    return false
  } catch (error) {
    return hasCode(error, 'EROFS')
  }
}

/** True for an error about a write that is not permitted. */
const isRefusedWrite = (thrown: unknown): boolean => {
  for (let error = thrown; error instanceof Error; error = error.cause)
    if (hasCode(error, 'EROFS') || SQLITE_DENIED.test(error.message)) return true
  return false
}

/** A failure for lack of permission as CONFIG_INVALID that names the path and the way out; any other as it is. */
export const accessError = (thrown: unknown, folder: string): unknown => {
  if (isRefusedWrite(thrown) && isReadOnly(folder))
    return new VarveError(
      'CONFIG_INVALID',
      `the file system of the data folder ${folder} is read-only: mount it for writing and try again`,
      { cause: thrown },
    )
  const denied = deniedPath(thrown, folder)
  if (denied === null) return thrown
  const euid = process.geteuid?.()
  const user = euid === undefined ? 'the user who runs this' : userName(euid)
  return new VarveError(
    'CONFIG_INVALID',
    `no permission for ${denied}: the data folder and all in it must belong to the user who runs the gateway, here ${user} (chown -R USER ${folder})`,
    { cause: thrown },
  )
}
