// Progress notices of long work: a few a second, and never two at once.
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

  /** Sends it, unless another one was just sent or is under way: notices must not pile up for a slow reader. */
  tell(progress: MaintenanceProgress): void {
    if (this.#telling || this.#clock.elapsed() - this.#toldMs < NOTICE_INTERVAL_MS) return
    this.#toldMs = this.#clock.elapsed()
    this.#telling = true
    // a caller that disconnected is noticed through the call's signal
    const told = (): void => void (this.#telling = false)
    this.#send(progress).then(told, told)
  }
}
