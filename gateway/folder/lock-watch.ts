// Watches that a running gateway's lock and catalog are still the files at their paths: if they are replaced, a second gateway
// could start and writes would be lost.
import { statSync } from 'node:fs'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { DatastoreLog } from '../common/log.ts'
import type { StoreLock } from './store-lock.ts'

/** How often they are checked, in milliseconds. */
const INTERVAL_MS = 1000

const inodeOf = (file: string): bigint | null => statSync(file, { bigint: true, throwIfNoEntry: false })?.ino ?? null

export interface LockWatchOptions {
  readonly lock: Pick<StoreLock, 'renew'>
  /** Path of the open catalog. */
  readonly catalog: string
  readonly clock: Clock
  readonly log: DatastoreLog
}

export class LockWatch implements Disposable {
  /** Resolves, once, with the reason where the gateway must stop; else never. */
  readonly lost: Promise<VarveError>
  readonly #options: LockWatchOptions
  readonly #inode: bigint | null
  #stopTimer: () => void = () => {}

  /** The lock is held and the catalog is open. */
  constructor(options: LockWatchOptions) {
    this.#options = options
    this.#inode = inodeOf(options.catalog)
    const { promise, resolve } = Promise.withResolvers<VarveError>()
    this.lost = promise
    this.#next(resolve)
  }

  [Symbol.dispose](): void {
    this.#stopTimer()
  }

  #next(stop: (error: VarveError) => void): void {
    this.#stopTimer = this.#options.clock.after(INTERVAL_MS, () => {
      const reason = this.#look()
      if (reason === null) this.#next(stop)
      else stop(reason)
    })
  }

  #look(): VarveError | null {
    const { lock, catalog, log } = this.#options
    try {
      if (inodeOf(catalog) !== this.#inode)
        return new VarveError(
          'STORE_FAILED',
          `${catalog} was moved, removed or replaced while the gateway ran, so it stops: leave the data folder alone while a gateway runs, put the catalog back and start it again`,
        )
      if (lock.renew()) log.warn({}, 'the file of the lock was removed while the gateway ran; it was locked again')
    } catch (thrown) {
      const { code, message } = asVarveError(thrown, 'STORE_FAILED')
      if (code === 'STORE_LOCKED')
        return new VarveError(code, `the file of the lock was removed, and ${message}: this one stops`)
      // what cannot be checked now is checked again later
      log.warn({ code, message }, 'the lock of the data folder cannot be checked')
    }
    return null
  }
}
