// Waiters for a condition that concurrent work makes true.
import type { Clock } from '../../protocol/peer.ts'

export class Wakes {
  readonly #waiting = new Set<() => void>()

  /** Makes all waiters check again. */
  wake(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }

  /** Waits until the next wake, and at most so many milliseconds; without end for null. */
  async next(clock: Clock, ms: number | null): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.add(resolve)
    const stop = ms === null ? null : clock.after(Math.max(1, ms), resolve)
    await promise
    stop?.()
    this.#waiting.delete(resolve)
  }

  /** Waits until the condition holds; rejects with what `check` throws, which is asked before each look. */
  async until(condition: () => boolean, check: () => void): Promise<void> {
    check()
    while (!condition()) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
      check()
    }
  }
}
