// Settles leases that no backup of this process holds: what earlier runs left, and what could not be ended at once.
import { asVarveError } from '../protocol/errors.ts'
import type { Clock } from '../protocol/peer.ts'
import type { LeaseDriver, LeaseOutcome, Machine } from './drivers/driver.ts'
import type { JournalEntry, LeaseJournal } from './drivers/journal.ts'
import type { Log } from '../protocol/host/log.ts'

/** How often leases that could not be ended are tried again, in milliseconds. */
const SETTLE_INTERVAL_MS = 30_000

export interface SettlementsOptions {
  readonly driverOf: (machine: Pick<Machine, 'driver'>) => LeaseDriver
  readonly journal: LeaseJournal
  readonly clock: Clock
  readonly log: Log
  /** Whether a backup of this process has the job's lease. */
  readonly isRunning: (job: string) => boolean
  /** Called when a job's machine is released. */
  readonly onReleased: (job: string) => void
}

export class Settlements {
  readonly #options: SettlementsOptions
  /** Entries that are being settled, by id. */
  readonly #settling = new Map<string, { readonly machine: string; readonly done: Promise<void> }>()
  #stopTimer: () => void = () => {}
  #stopped = false

  constructor(options: SettlementsOptions) {
    this.#options = options
    this.#again()
  }

  /** Whether an entry is being settled. */
  has(id: string): boolean {
    return this.#settling.has(id)
  }

  /** The settlements of a machine that are under way. */
  of(machine: string): readonly Promise<void>[] {
    return [...this.#settling.values()].filter((one) => one.machine === machine).map(({ done }) => done)
  }

  /** Settles an entry with the outcome that it already has, if any; retried where that cannot be done now. */
  settle(entry: JournalEntry, outcome: LeaseOutcome): Promise<void> {
    const known = this.#settling.get(entry.id)
    if (known !== undefined) return known.done
    const done = this.#settleNow(entry, outcome).finally(() => this.#settling.delete(entry.id))
    this.#settling.set(entry.id, { machine: entry.machine.name, done })
    return done
  }

  /** Settles as failed a lease that could not be begun or adopted. */
  async settleJob(job: string): Promise<void> {
    const { journal, log, onReleased } = this.#options
    try {
      const entry = (await journal.list()).find(({ id }) => id === job)
      if (entry === undefined) onReleased(job)
      else await this.settle(entry, 'failed')
    } catch (error) {
      log.warn({ job, err: error }, 'the lease journal cannot be read')
    }
  }

  /** Stops all retries. */
  stop(): void {
    this.#stopped = true
    this.#stopTimer()
  }

  async #settleNow(entry: JournalEntry, outcome: LeaseOutcome): Promise<void> {
    const { driverOf, log, onReleased } = this.#options
    try {
      await driverOf(entry.machine).settle(entry, entry.outcome ?? outcome)
      log.info({ job: entry.id, machine: entry.machine.name, outcome }, 'settled what an earlier run left')
      onReleased(entry.id)
    } catch (thrown) {
      const { code, message } = asVarveError(thrown)
      log.warn({ job: entry.id, code, reason: message }, 'an earlier lease cannot be settled yet')
    }
  }

  /** Retries entries whose outcome is known until nothing is left of them. */
  #again(): void {
    this.#stopTimer = this.#options.clock.after(SETTLE_INTERVAL_MS, () => void this.#settleKnown())
  }

  async #settleKnown(): Promise<void> {
    const { journal, log, isRunning } = this.#options
    try {
      for (const entry of await journal.list())
        if (entry.outcome !== null && !isRunning(entry.id)) await this.settle(entry, entry.outcome)
    } catch (error) {
      log.warn({ err: error }, 'the lease journal cannot be read')
    }
    if (!this.#stopped) this.#again()
  }
}
