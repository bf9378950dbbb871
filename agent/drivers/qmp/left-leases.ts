// Watches the scratch space of leases that no backup of this process holds: those in the journal from the agent's start
// on, independent of the gateway, and those that could not be ended.
import { pause } from '../../../protocol/host/within.ts'
import { readFile } from 'node:fs/promises'
import type { QmpHost } from './host.ts'
import type { QmpEntry } from './entry.ts'
import { qmpPathOf } from './keys.ts'
import { giveUpJobs, rescuedOf } from './rescue.ts'
import { agentEndedFile, startScratchGuard, type ScratchGuard } from './scratch-guard.ts'
import { watchScratch } from './scratch-watch.ts'

/** Pause before QEMU is asked again, or a guard is started again, in milliseconds. */
const RETRY_MS = 1_000

interface Watched {
  readonly released: AbortController
  guard: ScratchGuard | null
}

export class LeftLeases {
  readonly #host: QmpHost
  readonly #watched = new Map<string, Watched>()

  constructor(host: QmpHost) {
    this.#host = host
  }

  /** Watches a lease until `release`: its jobs are cancelled when its space runs low, and a guard process watches too. */
  watch(entry: QmpEntry): void {
    if (this.#watched.has(entry.id)) return
    const watched: Watched = { released: new AbortController(), guard: null }
    this.#watched.set(entry.id, watched)
    void this.#tellOfGuard(entry)
    void this.#guard(entry, watched)
    void this.#watch(entry, watched)
  }

  /** Ends the watch: the lease has a holder that watches it, or has ended. */
  release(id: string): void {
    const watched = this.#watched.get(id)
    this.#watched.delete(id)
    watched?.released.abort()
    watched?.guard?.done()
  }

  async #watch(entry: QmpEntry, watched: Watched): Promise<void> {
    const { reserveBytes, freeBytes, connect, log } = this.#host
    const { signal } = watched.released
    const about = { lease: entry.id, machine: entry.machine.name }
    const low = await watchScratch({ folder: entry.scratchFolder, reserveBytes, freeBytes, signal })
    for (let tries = 0; low !== null && !signal.aborted; tries += 1) {
      watched.guard?.acting()
      try {
        const continued = await giveUpJobs(await connect(qmpPathOf(entry.machine)), rescuedOf(entry))
        log.warn({ ...about, continued }, low.message)
        return
      } catch (error) {
        if (tries === 0) log.warn({ ...about, err: error }, 'a lease whose scratch space is low cannot be given up yet')
        await pause(RETRY_MS, signal)
      }
    }
  }

  /** Starts a guard that notices the end of this process; retried until one runs. */
  async #guard(entry: QmpEntry, watched: Watched): Promise<void> {
    const { signal } = watched.released
    while (watched.guard === null && !signal.aborted) {
      try {
        watched.guard = await startScratchGuard(entry, this.#host.reserveBytes)
      } catch {
        await pause(RETRY_MS, signal)
      }
    }
    if (signal.aborted) watched.guard?.done()
  }

  /** Reports what a guard has noted about an agent before this one. */
  async #tellOfGuard({ id, machine, scratchFolder }: QmpEntry): Promise<void> {
    const text = await readFile(agentEndedFile(scratchFolder), 'utf8').catch(() => null)
    if (text === null) return
    const sentence = 'the scratch space guard killed the last agent, which hung, and cancelled its backup'
    this.#host.log.warn({ lease: id, machine: machine.name, noted: text }, sentence)
  }
}
