// The list of drivers: to add one, add its kind.

import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Forgotten } from '../../protocol/methods.ts'
import type {
  DriverHost,
  DriverKind,
  GivenKind,
  Lease,
  LeaseDriver,
  LeaseRequest,
  Machine,
  MachineConfig,
} from './driver.ts'
import { EXTERNAL } from './external/kind.ts'
import { LeaseJournal, type JournalOptions } from './journal.ts'
import { LIBVIRT } from './libvirt/kind.ts'
import { OFFLINE } from './offline/kind.ts'
import { QMP } from './qmp/kind.ts'

/** The first whose mark a machine has is its driver; the first of all where it has none's. */
const KINDS: readonly [DriverKind, ...DriverKind[]] = [QMP, LIBVIRT, OFFLINE]

/** These and the one whose machines become known by their leases. */
const ALL: readonly GivenKind[] = [...KINDS, EXTERNAL]

/** Names of the drivers that a configuration can name. */
export const DRIVER_NAMES: readonly string[] = KINDS.map(({ name }) => name)

/** The driver of a `[[machine]]`: the one that it names, else by the keys that it has. */
export const kindOf = (table: unknown): DriverKind => {
  if (typeof table !== 'object' || table === null) return KINDS[0]
  const named = 'driver' in table ? KINDS.find(({ name }) => name === table.driver) : undefined
  return named ?? KINDS.find(({ mark }) => mark in table) ?? KINDS[0]
}

/** The lease journal of a state folder, which knows what each driver writes in it. */
export const openJournal = (stateFolder: string, options?: JournalOptions): Promise<LeaseJournal> =>
  LeaseJournal.open(stateFolder, new Map(ALL.map(({ name, payload }) => [name, payload])), options)

/** The drivers of one process. */
export class Drivers implements AsyncDisposable {
  readonly #drivers: ReadonlyMap<string, LeaseDriver>
  readonly #host: DriverHost

  private constructor(host: DriverHost, drivers: ReadonlyMap<string, LeaseDriver>) {
    this.#host = host
    this.#drivers = drivers
  }

  static async open(host: DriverHost): Promise<Drivers> {
    const opened = await Promise.all(ALL.map(async (kind) => [kind.name, await kind.open(host)] as const))
    return new Drivers(host, new Map(opened))
  }

  /** The driver of a machine of the configuration or the journal. */
  of({ driver }: Pick<Machine, 'driver'>): LeaseDriver {
    const found = this.#drivers.get(driver)
    if (found === undefined) throw new Error(`there is no driver "${driver}"`)
    return found
  }

  /** Begins a lease with the machine's driver or, where the machine is off and its disks are known, with the driver `offline`. */
  async begin(request: LeaseRequest): Promise<Lease> {
    const { machine } = request
    const driver = this.of(machine)
    await this.#settleOthers(machine)
    try {
      return await driver.begin(request)
    } catch (thrown) {
      const error = asVarveError(thrown)
      const off = await driver.whenOff(machine, error)
      if (off === null) throw error
      await this.#settleOthers(off)
      return await this.of(off).begin({ ...request, machine: off })
    }
  }

  /** Removes what is Varve's from a machine or one of its disks, from the images where it is off. LEASE_HELD, NOT_FOUND. */
  async forget(machine: Machine, disk: string | null): Promise<Forgotten> {
    const driver = this.of(machine)
    try {
      return await driver.forget(machine, disk)
    } catch (thrown) {
      const error = asVarveError(thrown)
      const off = await driver.whenOff({ exclude: [], attach: [], ...machine }, error)
      if (off === null) throw error
      return await this.of(off).forget(off, disk)
    }
  }

  /**
   * Settles the machine's leases of other drivers than this one, as far as their outcomes are known; LEASE_HELD. What one left
   * where the machine no longer runs waits there, and is not in the way: at most bitmaps in images that nothing uses.
   */
  async #settleOthers({ name, driver }: MachineConfig): Promise<void> {
    for (const entry of await this.#host.journal.list()) {
      const { machine, outcome } = entry
      if (machine.name !== name || machine.driver === driver) continue
      if (outcome === null) {
        const sentence = `an earlier lease on machine ${name} (driver ${machine.driver}) is not settled`
        throw new VarveError('LEASE_HELD', sentence, { details: { machine: name, lease: entry.id } })
      }
      try {
        await this.of(machine).settle(entry, outcome)
      } catch (error) {
        const about = { machine: name, driver: machine.driver, lease: entry.id, err: error }
        this.#host.log.info(about, 'what a lease left in another way of running the machine cannot be removed yet')
      }
    }
  }

  /** Watches the leases of the journal, of every driver. */
  async watchLeft(): Promise<void> {
    for (const driver of this.#drivers.values()) await driver.watchLeft()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const driver of this.#drivers.values()) await driver[Symbol.asyncDispose]()
  }
}
