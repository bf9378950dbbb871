// The lock between commands, which use the catalog beside a gateway, and a rebuild, which replaces it: a command never writes
// into a catalog that is about to be replaced.
import { accessSync, constants } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { VarveError } from '../../../protocol/errors.ts'
import { CATALOG_LOCK_NAME } from '../../folder/layout.ts'
import { isBusy } from '../../common/store-error.ts'
import { checkLockFile } from '../../folder/store-lock.ts'

/** How long a rebuild waits for commands that use the catalog, in milliseconds. */
const TAKE_TIMEOUT_MS = 10_000

interface Kind {
  readonly timeoutMs: number
  readonly begin: string
  readonly refused: string
}

const SHARED: Kind = {
  timeoutMs: 0,
  begin: 'BEGIN; SELECT count(*) FROM sqlite_master',
  refused: 'the catalog is being built again (varve-gateway repair --rebuild): try again when that has ended',
}
const ALONE: Kind = {
  timeoutMs: TAKE_TIMEOUT_MS,
  begin: 'BEGIN EXCLUSIVE',
  refused: 'another command uses the catalog: try again when it has ended',
}

/** Held from its making to disposal, or to the end of the process, however it ends. */
export class CatalogLock implements Disposable {
  readonly #db: DatabaseSync

  private constructor(folder: string, { timeoutMs, begin, refused }: Kind) {
    const file = path.join(folder, CATALOG_LOCK_NAME)
    checkLockFile(file)
    this.#db = new DatabaseSync(file, { timeout: timeoutMs })
    try {
      // SQLite takes no exclusive lock on a read-only file
      accessSync(file, constants.W_OK)
      this.#db.exec(begin)
    } catch (cause) {
      this.#db.close()
      throw isBusy(cause) ? new VarveError('STORE_LOCKED', refused, { cause }) : cause
    }
  }

  /** For a command, beside any number of others; STORE_LOCKED while the catalog of the folder is rebuilt. */
  static share(folder: string): CatalogLock {
    return new CatalogLock(folder, SHARED)
  }

  /** For a rebuild; STORE_LOCKED where a command uses the catalog for longer than TAKE_TIMEOUT_MS. */
  static take(folder: string): CatalogLock {
    return new CatalogLock(folder, ALONE)
  }

  [Symbol.dispose](): void {
    this.#db.close()
  }
}
