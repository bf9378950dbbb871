// The lock that keeps a second gateway off a datastore: a SQLite lock, which dies with its process.
import { DatabaseSync } from 'node:sqlite'
import { VarveError } from '../../protocol/errors.ts'

/** Held from construction to disposal, or to the end of the process, however it ends. */
export class StoreLock implements Disposable {
  readonly #db: DatabaseSync

  /** STORE_LOCKED when another gateway, of this process or another one, holds it. */
  constructor(path: string) {
    this.#db = new DatabaseSync(path, { timeout: 0 })
    try {
      this.#db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    } catch (cause) {
      this.#db.close()
      throw new VarveError('STORE_LOCKED', 'another gateway has this datastore open', { cause })
    }
  }

  [Symbol.dispose](): void {
    this.#db.close()
  }
}
