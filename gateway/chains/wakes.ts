// Those who wait for a condition that somebody else's work makes true.

export class Wakes {
  readonly #waiting = new Set<() => void>()

  /** Has everybody who waits look again. */
  wake(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
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
