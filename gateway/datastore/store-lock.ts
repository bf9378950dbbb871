// The lock that keeps a second gateway off a datastore: a SQLite lock, which dies with its process.
import { accessSync, constants } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { VarveError } from '../../protocol/errors.ts'
import { isBusy } from './store-error.ts'

/** Held from construction to disposal, or to the end of the process, however it ends. */
export class StoreLock implements Disposable {
  readonly #db: DatabaseSync

  /** STORE_LOCKED when another gateway, or a command, of this process or another one, holds it. */
  constructor(path: string) {
    this.#db = new DatabaseSync(path, { timeout: 0 })
    try {
      // of a file that may only be read, SQLite locks nothing
      accessSync(path, constants.W_OK)
      this.#db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    } catch (cause) {
      this.#db.close()
      if (!isBusy(cause)) throw cause
      throw new VarveError(
        'STORE_LOCKED',
        'another gateway, or a command that works on it alone, has this data folder open',
        { cause },
      )
    }
  }

  [Symbol.dispose](): void {
    this.#db.close()
  }
}
