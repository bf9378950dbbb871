// The list of drivers: to add one, add its kind.

import type { DriverHost, DriverKind, LeaseDriver, Machine } from './driver.ts'
import { LeaseJournal, type JournalOptions } from './journal.ts'
import { QMP } from './qmp/kind.ts'

/** The first one is the default, where a machine has no driver's key. */
const KINDS: readonly [DriverKind, ...DriverKind[]] = [QMP]

/** The driver of a `[[machine]]`, by the keys that it has. */
export const kindOf = (table: unknown): DriverKind =>
  KINDS.find(({ name }) => typeof table === 'object' && table !== null && name in table) ?? KINDS[0]

/** The lease journal of a state folder, which knows what each driver writes in it. */
export const openJournal = (stateFolder: string, options?: JournalOptions): Promise<LeaseJournal> =>
  LeaseJournal.open(stateFolder, new Map(KINDS.map(({ name, payload }) => [name, payload])), options)

/** The drivers of one process. */
export class Drivers implements AsyncDisposable {
  readonly #drivers: ReadonlyMap<string, LeaseDriver>

  constructor(host: DriverHost) {
    this.#drivers = new Map(KINDS.map((kind) => [kind.name, kind.open(host)]))
  }

  /** The driver of a machine of the configuration or the journal. */
  of({ driver }: Pick<Machine, 'driver'>): LeaseDriver {
    const found = this.#drivers.get(driver)
    if (found === undefined) throw new Error(`there is no driver "${driver}"`)
    return found
  }

  /** Watches the leases of the journal, of every driver. */
  async watchLeft(): Promise<void> {
    for (const driver of this.#drivers.values()) await driver.watchLeft()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const driver of this.#drivers.values()) await driver[Symbol.asyncDispose]()
  }
}
