// Watches that a running gateway's lock and catalog are still the files of their names: with others in their place a second gateway could start, and what is written is lost.
import { statSync } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import type { Clock } from '../../protocol/peer.ts'
import { CATALOG_NAME, LOCK_NAME } from './layout.ts'

/** How often it is looked, in milliseconds. */
const INTERVAL_MS = 1000

const WATCHED = [LOCK_NAME, CATALOG_NAME] as const

/** Device and inode; null where there is nothing, undefined where that cannot be told. */
const identityOf = (file: string): string | null | undefined => {
  try {
    const found = statSync(file, { bigint: true, throwIfNoEntry: false })
    return found === undefined ? null : `${found.dev} ${found.ino}`
  } catch {
    return undefined
  }
}

export class LockWatch implements Disposable {
  /** Resolves, once, with what to say when one of them is gone; else never. */
  readonly lost: Promise<VarveError>
  readonly #folder: string
  readonly #clock: Clock
  readonly #known: ReadonlyMap<string, string | null | undefined>
  #stopTimer: () => void = () => {}

  /** The lock is held and the catalog is open. */
  constructor(folder: string, clock: Clock) {
    this.#folder = folder
    this.#clock = clock
    this.#known = new Map(WATCHED.map((name) => [name, identityOf(path.join(folder, name))]))
    const { promise, resolve } = Promise.withResolvers<VarveError>()
    this.lost = promise
    this.#next(resolve)
  }

  [Symbol.dispose](): void {
    this.#stopTimer()
  }

  #next(found: (error: VarveError) => void): void {
    this.#stopTimer = this.#clock.after(INTERVAL_MS, () => {
      const gone = WATCHED.find((name) => {
        const now = identityOf(path.join(this.#folder, name))
        return now !== undefined && now !== this.#known.get(name)
      })
      if (gone === undefined) return this.#next(found)
      found(
        new VarveError(
          'STORE_FAILED',
          `${gone} in ${this.#folder} was moved, removed or replaced while the gateway ran, so it stops: leave the data folder alone while a gateway runs, and start it again`,
        ),
      )
    })
  }
}
