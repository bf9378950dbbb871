// Notices of how far long work is: a few a second, and never two at once.
import type { MaintenanceProgress } from '../../protocol/maintenance.ts'
import type { Clock } from '../../protocol/peer.ts'

/** Shortest time between two notices, in milliseconds. */
const NOTICE_INTERVAL_MS = 200

export class Progress {
  readonly #clock: Pick<Clock, 'elapsed'>
  readonly #send: (progress: MaintenanceProgress) => Promise<void>
  #toldMs = Number.NEGATIVE_INFINITY
  #telling = false

  constructor(clock: Pick<Clock, 'elapsed'>, send: (progress: MaintenanceProgress) => Promise<void>) {
    this.#clock = clock
    this.#send = send
  }

  /** Sends it, unless another one was sent just now or is under way: for who reads slowly, notices must not pile up. */
  tell(progress: MaintenanceProgress): void {
    if (this.#telling || this.#clock.elapsed() - this.#toldMs < NOTICE_INTERVAL_MS) return
    this.#toldMs = this.#clock.elapsed()
    this.#telling = true
    // who has gone is noticed by the call's signal
    const told = (): void => void (this.#telling = false)
    this.#send(progress).then(told, told)
  }
}
