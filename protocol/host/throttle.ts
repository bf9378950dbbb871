// A bandwidth limit: bytes may be sent at a steady rate, with a small burst.
import type { Clock } from '../peer.ts'

/** The burst after a pause, in milliseconds of the rate. */
const BURST_MS = 250

export class Throttle {
  readonly #bytesPerSecond: number | null
  readonly #clock: Clock
  /** When the bytes granted so far are used up at the rate. */
  #paidMs = 0

  /** `null` for no limit. */
  constructor(bytesPerSecond: number | null, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond
    this.#clock = clock
  }

  /** Resolves when so many bytes may be sent; callers share the rate. Rejects with the signal's reason, without using any. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (this.#bytesPerSecond === null) return
    const now = this.#clock.elapsed()
    const startMs = Math.max(this.#paidMs, now - BURST_MS)
    const costMs = (bytes / this.#bytesPerSecond) * 1000
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
