// Watches the scratch space of leases that no backup of this process holds: those in the journal from the agent's start
// on, independent of the gateway, and those that could not be ended.
import { readFile } from 'node:fs/promises'
import { pause } from '../../protocol/host/within.ts'
import type { DriverHost } from './driver.ts'
import type { JournalEntry } from './journal.ts'
import type { ScratchGuard } from './scratch-guard.ts'
import { agentEndedFile } from './scratch-guard-order.ts'
import { watchScratch } from './scratch-watch.ts'

/** Pause before the jobs are cancelled again, or a guard is started again, in milliseconds. */
const RETRY_MS = 1_000

/** A lease with scratch space. */
export type LeftEntry = Pick<JournalEntry, 'id' | 'machine'> & { readonly scratchFolder: string }

/** What a driver does for the leases that it left. */
export interface LeftLeasesHost<Entry extends LeftEntry> extends Pick<DriverHost, 'reserveBytes' | 'log'> {
  readonly freeBytes: (folder: string) => Promise<number>
  readonly startGuard: (entry: Entry) => Promise<ScratchGuard>
  /** Cancels the jobs of a lease whose space is low; true when it had to resume the guest. */
  readonly giveUp: (entry: Entry) => Promise<boolean>
  /** Watches whether a lease keeps its machine from moving, and clears the way; never rejects. */
  readonly makeWay?: (entry: Entry, signal: AbortSignal) => Promise<void>
}

interface Watched {
  readonly released: AbortController
  guard: ScratchGuard | null
}

export class LeftLeases<Entry extends LeftEntry> {
  readonly #host: LeftLeasesHost<Entry>
  readonly #watched = new Map<string, Watched>()

  constructor(host: LeftLeasesHost<Entry>) {
    this.#host = host
  }

  /** Watches a lease until `release`: its jobs are cancelled when its space runs low, and a guard process watches too. */
  watch(entry: Entry): void {
    if (this.#watched.has(entry.id)) return
    const watched: Watched = { released: new AbortController(), guard: null }
    this.#watched.set(entry.id, watched)
    void this.#tellOfGuard(entry)
    void this.#guard(entry, watched)
    void this.#watch(entry, watched)
    void this.#host.makeWay?.(entry, watched.released.signal)
  }

  /** Ends the watch: the lease has a holder that watches it, or has ended. */
  release(id: string): void {
    const watched = this.#watched.get(id)
    this.#watched.delete(id)
    watched?.released.abort()
    watched?.guard?.done()
  }

  async #watch(entry: Entry, watched: Watched): Promise<void> {
    const { reserveBytes, freeBytes, giveUp, log } = this.#host
    const { signal } = watched.released
    const about = { lease: entry.id, machine: entry.machine.name }
    const low = await watchScratch({ folder: entry.scratchFolder, reserveBytes, freeBytes, signal })
    for (let tries = 0; low !== null && !signal.aborted; tries += 1) {
      watched.guard?.acting()
      try {
        const continued = await giveUp(entry)
        log.warn({ ...about, continued }, low.message)
        return
      } catch (error) {
        if (tries === 0) log.warn({ ...about, err: error }, 'a lease whose scratch space is low cannot be given up yet')
        await pause(RETRY_MS, signal)
      }
    }
  }

  /** Starts a guard that notices the end of this process; retried until one runs. */
  async #guard(entry: Entry, watched: Watched): Promise<void> {
    const { signal } = watched.released
    while (watched.guard === null && !signal.aborted) {
      try {
        watched.guard = await this.#host.startGuard(entry)
      } catch {
        await pause(RETRY_MS, signal)
      }
    }
    if (signal.aborted) watched.guard?.done()
  }

  /** Reports what a guard has noted about an agent before this one. */
  async #tellOfGuard({ id, machine, scratchFolder }: Entry): Promise<void> {
    const text = await readFile(agentEndedFile(scratchFolder), 'utf8').catch(() => null)
    if (text === null) return
    const sentence = 'the scratch space guard killed the last agent, which hung, and cancelled its backup'
    this.#host.log.warn({ lease: id, machine: machine.name, noted: text }, sentence)
  }
}
