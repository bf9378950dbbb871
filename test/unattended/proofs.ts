// Proves each restore point while it is there: restored whole and compared with the moment that it is of.
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError } from '../../protocol/errors.ts'
import type { Rig } from './rig.ts'

const LOOK_MS = 1000

export interface Proof {
  readonly point: string
  readonly machine: string
  readonly timeMs: number
  /** How it differs from what its machine's disks ever were; null where it is exact. */
  readonly wrong: string | null
}

export class Proofs {
  readonly #rig: Rig
  readonly #proofs = new Map<string, Proof>()
  readonly #stop = new AbortController()
  #working: Promise<void> = Promise.resolve()
  /** Points that retention took before they could be read. */
  readonly gone = new Set<string>()

  constructor(rig: Rig) {
    this.#rig = rig
  }

  get all(): readonly Proof[] {
    return [...this.#proofs.values()]
  }

  /** Proves new points as they come, until `end`. */
  begin(): void {
    this.#working = this.#work()
  }

  /** Proves what is there now, and stops. */
  async end(): Promise<void> {
    this.#stop.abort()
    await this.#working
    await this.#look()
  }

  async #work(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      // the gateway may be away
      await this.#look().catch(() => undefined)
      await sleep(LOOK_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined)
    }
  }

  async #look(): Promise<void> {
    const { stand, guests } = this.#rig
    // the oldest first: the newest of before is likely to be the base of the next
    for (const { id: point, machine, timeMs } of (await stand.listPoints()).toReversed()) {
      if (this.#proofs.has(point) || this.gone.has(point)) continue
      const guest = guests.find(({ name }) => name === machine)
      if (guest === undefined) continue
      try {
        const wrong = guest.compare(await stand.restore(point))
        this.#proofs.set(point, { point, machine, timeMs, wrong })
      } catch (thrown) {
        if (asVarveError(thrown).code !== 'NOT_FOUND') throw thrown
        this.gone.add(point)
      }
    }
  }
}
