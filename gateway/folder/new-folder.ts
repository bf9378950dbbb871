// A new data folder: made level by level, and tested before anything of value is stored in it. Each refusal is CONFIG_INVALID
// with
// a way out.
import { randomUUID } from 'node:crypto'
import { constants, existsSync, statSync } from 'node:fs'
import { access, mkdir, open, rename, rm, rmdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { VarveError } from '../../protocol/errors.ts'
import { syncFolder } from '../../protocol/host/durable.ts'
import { FOLDER_MODE } from './durable-folder.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { isBusy, isFull } from '../common/store-error.ts'

/** Bytes that a new folder must have room for: the catalog, its log and the keys of a first start. */
const TRIED_BYTES = 1024 * 1024

const KIND = 'a gateway needs a local file system such as ext4, xfs or btrfs'

/** The system's errors when a folder is made or used, with the way out. */
const WAYS: Readonly<Record<string, string>> = {
  ENOENT: 'its file system makes no folders there (is it one of the system, such as /proc?): name another one',
  ENOTDIR: 'a part of this path is a file, not a folder: name another one',
  EEXIST: 'it is a file or a device, not a folder: name another one',
  EACCES: 'this user may not write there: make the folder as root and give it to the user that runs the gateway',
  EPERM: `the system does not allow it there: ${KIND}`,
  EROFS: 'its file system is read-only: mount it for writing, or name another one',
  ENAMETOOLONG: 'its name is too long for its file system: name a shorter one',
  ELOOP: 'its symbolic links form a loop',
  ENOSPC: 'its file system has no space left: make room, or name another one',
  EDQUOT: 'the quota of this user is used up there: make room, or name another one',
}

const refusal = (folder: string, what: string, cause?: unknown): VarveError =>
  new VarveError('CONFIG_INVALID', `${folder} cannot be the data folder: ${what}`, { cause })

/** Why the system refuses a folder as the data folder, with the way out; CONFIG_INVALID. */
export const refusalOf = (folder: string, doing: string, thrown: unknown): VarveError => {
  if (thrown instanceof VarveError) return thrown
  const { code = '', message } = thrown as NodeJS.ErrnoException
  const way = isFull(thrown) ? WAYS['ENOSPC'] : WAYS[code]
  if (way === undefined) return refusal(folder, `${doing} failed there (${message}): ${KIND}`, thrown)
  const isPlain = code === 'EEXIST' || doing === 'writing' || doing === `making ${path.resolve(folder)}`
  return refusal(folder, isPlain ? way : `${way} (${doing})`, thrown)
}

/** What is wrong with the text of a data folder's path; null for nothing. */
export const pathProblem = (folder: string): string | null => {
  if (folder === '') return 'the data folder has no name: name one, such as /var/lib/varve-gateway'
  if (/\p{Cc}/u.test(folder)) return 'the path of the data folder contains control characters'
  if (folder.startsWith('~'))
    return `"${folder}" begins with a tilde that the shell did not expand: write the whole path (or ./${folder})`
  return null
}

/** The folder and its parents that are absent, the uppermost first. */
const missingOf = (folder: string): string[] => {
  const missing: string[] = []
  for (let one = path.resolve(folder); !existsSync(one) && one !== path.dirname(one); one = path.dirname(one))
    missing.unshift(one)
  return missing
}

const isFolder = (file: string): boolean => {
  try {
    return statSync(file).isDirectory()
  } catch {
    return false
  }
}

/**
 * Makes a folder and its parents, one after the other (Node's recursive mkdir loops for ever where a file system makes none);
 * returns those that it made. CONFIG_INVALID.
 */
export const makeFolders = async (folder: string): Promise<string[]> => {
  const problem = pathProblem(folder)
  if (problem !== null) throw new VarveError('CONFIG_INVALID', problem)
  const made: string[] = []
  for (const one of missingOf(folder)) {
    try {
      await mkdir(one, FOLDER_MODE)
    } catch (error) {
      // also when another process makes the same one
      if (hasCode(error, 'EEXIST') && isFolder(one)) continue
      await unmake(made)
      throw refusalOf(folder, `making ${one}`, error)
    }
    made.push(one)
    await syncFolder(path.dirname(one))
  }
  if (!isFolder(folder)) throw refusalOf(folder, 'using it', { code: 'EEXIST' })
  return made
}

const unmake = async (made: readonly string[]): Promise<void> => {
  for (const one of made.toReversed()) await rmdir(one).catch(() => undefined)
}

const tryFile = async (folder: string, file: string): Promise<void> => {
  const written = `${file}.written`
  {
    await using handle = await open(written, 'wx', 0o600)
    await handle.writeFile(new Uint8Array(TRIED_BYTES).fill(1))
    await handle.sync()
    if (((await handle.stat()).mode & 0o077) !== 0)
      throw refusal(folder, `its file system does not keep file permissions, so others could read the keys: ${KIND}`)
  }
  await rename(written, file)
}

const tryLock = (folder: string, file: string): void => {
  using one = new DatabaseSync(file, { timeout: 0 })
  one.exec('PRAGMA journal_mode = WAL; CREATE TABLE tried (one); BEGIN EXCLUSIVE')
  using other = new DatabaseSync(file, { timeout: 0 })
  try {
    other.exec('BEGIN IMMEDIATE')
  } catch (error) {
    if (isBusy(error)) return
    throw error
  }
  throw refusal(folder, `its file system does not keep locks, so two gateways could write into it: ${KIND}`)
}

const trySocket = async (file: string): Promise<void> => {
  // a running gateway reaches a longer path through its folder
  if (Buffer.byteLength(file) > 107) return
  const server = createServer()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(file, resolve)
  await promise
  await new Promise<void>((closed) => void server.close(() => closed()))
}

const tryAll = async (folder: string): Promise<void> => {
  const file = path.join(path.resolve(folder), `.varve-${randomUUID().slice(0, 8)}`)
  const steps: readonly (readonly [string, () => Promise<void> | void])[] = [
    ['writing', () => access(folder, constants.R_OK | constants.W_OK | constants.X_OK)],
    ['writing a file', () => tryFile(folder, file)],
    ['locking a database', () => tryLock(folder, `${file}.db`)],
    ['making a socket', () => trySocket(`${file}.sock`)],
  ]
  try {
    for (const [doing, step] of steps) {
      try {
        await step()
      } catch (thrown) {
        throw refusalOf(folder, doing, thrown)
      }
    }
  } finally {
    const endings = ['', '.written', '.db', '.db-wal', '.db-shm', '.db-journal', '.sock']
    for (const ending of endings) await rm(`${file}${ending}`, { force: true }).catch(() => undefined)
  }
}

/**
 * Makes a data folder if it is absent, and tests what a gateway needs of it. CONFIG_INVALID, and then everything made is removed
 * again.
 */
export const makeDataFolder = async (folder: string): Promise<void> => {
  const made = await makeFolders(folder)
  try {
    await tryAll(folder)
  } catch (error) {
    await unmake(made)
    throw error
  }
}
