// A bandwidth limit: bytes may be sent at a steady rate, or one that changes meanwhile, with a small burst.
import type { Clock } from '../peer.ts'

/** The burst after a pause, in milliseconds of the rate. */
const BURST_MS = 250

/** Bytes a second, null for no limit; asked each time where it changes. */
export type Rate = number | null | (() => number | null)

export class Throttle {
  readonly #rate: () => number | null
  readonly #clock: Clock
  /** When the bytes granted so far are used up at the rate. */
  #paidMs = 0

  constructor(rate: Rate, clock: Clock) {
    this.#rate = typeof rate === 'function' ? rate : () => rate
    this.#clock = clock
  }

  /** Resolves when so many bytes may be sent; callers share the rate. Rejects with the signal's reason, without using any. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const bytesPerSecond = this.#rate()
    if (bytesPerSecond === null) return
    const now = this.#clock.elapsed()
    const startMs = Math.max(this.#paidMs, now - BURST_MS)
    const costMs = (bytes / bytesPerSecond) * 1000
    this.#paidMs = startMs + costMs
    const waitMs = this.#paidMs - now
    if (waitMs <= 0) return
    try {
      await this.#wait(waitMs, signal)
    } catch (aborted) {
      this.#paidMs -= costMs
      throw aborted
    }
  }

  async #wait(waitMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const stopTimer = this.#clock.after(waitMs, resolve)
    const onAbort = (): void => reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await promise
    } finally {
      stopTimer()
      signal?.removeEventListener('abort', onAbort)
    }
  }
}
