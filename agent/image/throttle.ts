// A bandwidth limit: bytes may be sent at a steady rate, with a small burst.
import type { Clock } from '../../protocol/peer.ts'

/** How much may go at once after a pause, in milliseconds of the rate. */
const BURST_MS = 250

export class Throttle {
  readonly #bytesPerSecond: number | null
  readonly #clock: Clock
  /** When everything taken so far has been paid for. */
  #paidMs = 0

  /** No limit with `null`. */
  constructor(bytesPerSecond: number | null, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond
    this.#clock = clock
  }

  /** Resolves when so many bytes may be sent; callers share the rate. */
  async take(bytes: number): Promise<void> {
    if (this.#bytesPerSecond === null) return
    const now = this.#clock.now()
    const startMs = Math.max(this.#paidMs, now - BURST_MS)
    this.#paidMs = startMs + (bytes / this.#bytesPerSecond) * 1000
    const waitMs = this.#paidMs - now
    if (waitMs > 0) await new Promise<void>((resolve) => this.#clock.after(waitMs, resolve))
  }
}
