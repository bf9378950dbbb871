// The lock that keeps a second gateway off a datastore: a SQLite lock, which dies with its process.
import { accessSync, constants, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { VarveError } from '../../protocol/errors.ts'
import { isBusy } from '../common/store-error.ts'

/** CONFIG_INVALID unless a lock's file is absent or an empty file: anything else is foreign and left alone. */
export const checkLockFile = (file: string): void => {
  const found = statSync(file, { throwIfNoEntry: false })
  if (found === undefined || (found.isFile() && found.size === 0)) return
  throw new VarveError(
    'CONFIG_INVALID',
    `${file} is not Varve's, whose locks are empty files: move it away and try again`,
  )
}

const lock = (path: string): DatabaseSync => {
  checkLockFile(path)
  const db = new DatabaseSync(path, { timeout: 0 })
  try {
    // SQLite does not lock a read-only file
    accessSync(path, constants.W_OK)
    db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    return db
  } catch (cause) {
    db.close()
    if (!isBusy(cause)) throw cause
    throw new VarveError(
      'STORE_LOCKED',
      'another gateway, or a command that works on it alone, has this data folder open',
      { cause },
    )
  }
}

const inodeOf = (path: string): bigint | null => statSync(path, { bigint: true, throwIfNoEntry: false })?.ino ?? null

/** Held from construction to disposal, or to the end of the process, however it ends. */
export class StoreLock implements Disposable {
  readonly #path: string
  #db: DatabaseSync
  #inode: bigint | null

  /**
   * CONFIG_INVALID where a foreign file lies in its place; STORE_LOCKED when another gateway, or a command, of this process or
   * another one, holds it.
   */
  constructor(path: string) {
    this.#path = path
    this.#db = lock(path)
    this.#inode = inodeOf(path)
  }

  /**
   * Takes the lock again where its file was removed or replaced; true where it was. STORE_LOCKED when another one holds the lock
   * of the new file, and as above.
   */
  renew(): boolean {
    if (inodeOf(this.#path) === this.#inode) return false
    const db = lock(this.#path)
    this.#db.close()
    this.#db = db
    this.#inode = inodeOf(this.#path)
    return true
  }

  [Symbol.dispose](): void {
    this.#db.close()
  }
}
