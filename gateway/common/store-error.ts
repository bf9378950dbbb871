// What the operating system's errors mean to the datastore.
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { hasCode, systemCode } from '../../protocol/host/system-error.ts'
import type { DatastoreLog } from './log.ts'

/** SQLite's primary result code for a full disk. */
const SQLITE_FULL = 13

/** Its codes for a file that is damaged or not a database. */
const SQLITE_DAMAGED: ReadonlySet<number> = new Set([11, 26])

const isDatabaseError = (thrown: unknown): thrown is Error & { readonly errcode: number } =>
  thrown instanceof Error && 'errcode' in thrown && typeof thrown.errcode === 'number'

/** SQLite's code for a lock that somebody else holds. */
const SQLITE_BUSY = 5

/** True where another connection holds the lock of a database. */
export const isBusy = (thrown: unknown): boolean => isDatabaseError(thrown) && (thrown.errcode & 0xff) === SQLITE_BUSY

/** True for an error that only a lack of space causes. */
export const isFull = (thrown: unknown): boolean =>
  isDatabaseError(thrown) ? (thrown.errcode & 0xff) === SQLITE_FULL : hasCode(thrown, 'ENOSPC', 'EDQUOT')

/** True where SQLite reports a file as damaged or not a database. */
export const isDamagedDatabase = (thrown: unknown): thrown is Error & { readonly errcode: number } =>
  isDatabaseError(thrown) && SQLITE_DAMAGED.has(thrown.errcode & 0xff)

/**
 * SQLite's codes for a file that it could not create and for unspecified disk errors: space, a user's quota or inodes may be used
 * up.
 */
const SQLITE_UNCLEAR: ReadonlySet<number> = new Set([10, 14])

/** True where SQLite says that its files cannot grow. */
export const isDatabaseFull = (thrown: unknown): boolean => isDatabaseError(thrown) && isFull(thrown)

/** True for an error that may or may not be a lack of space. */
export const mayBeFull = (thrown: unknown): boolean =>
  isDatabaseError(thrown) && SQLITE_UNCLEAR.has(thrown.errcode & 0xff)

const reasonOf = (thrown: unknown): string =>
  isDatabaseError(thrown) ? thrown.message : (systemCode(thrown) ?? String(thrown))

/** CATALOG_DAMAGED for a catalog that cannot be relied on, with the way out. */
export const damagedCatalog = (what: string, cause?: unknown): VarveError =>
  new VarveError(
    'CATALOG_DAMAGED',
    `the catalog (catalog.db) is damaged: ${what}; stop the gateway and build it again from the packs with: varve-gateway repair --rebuild`,
    cause === undefined ? {} : { cause },
  )

/** STORE_FULL, for work that ran into a full disk. */
export const storeFull = (doing: string, cause: unknown): VarveError =>
  new VarveError('STORE_FULL', `no space left while ${doing}`, { cause })

/**
 * A failed write or read, of a file or the catalog, as a VarveError: STORE_FULL without space, CATALOG_DAMAGED where the catalog
 * turns out to be damaged, STORE_FAILED otherwise. Its message names no path.
 */
export const storeError = (thrown: unknown, doing: string): VarveError => {
  if (thrown instanceof VarveError) return thrown
  if (isDamagedDatabase(thrown)) return damagedCatalog(reasonOf(thrown), thrown)
  if (isFull(thrown)) return storeFull(doing, thrown)
  return new VarveError('STORE_FAILED', `${doing} failed: ${reasonOf(thrown)}`, { cause: thrown })
}

/** Runs work that only makes a note: without space the note is skipped and logged; null then. */
export const unlessFull = async <R>(log: DatastoreLog, doing: string, work: () => Promise<R>): Promise<R | null> => {
  try {
    return await work()
  } catch (thrown) {
    if (asVarveError(thrown).code !== 'STORE_FULL') throw thrown
    log.error({ err: thrown, doing }, 'the disk is full: this was not noted')
    return null
  }
}
