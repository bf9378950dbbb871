// A clock that stands still until the test moves it.
import type { Clock } from '../../../protocol/peer.ts'

interface Timer {
  readonly dueMs: number
  readonly action: () => void
}

/** Lets everything that is ready run: several turns of the event loop. */
export const settle = async (turns = 5): Promise<void> => {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => void setImmediate(resolve))
}

export class HandClock implements Clock {
  #nowMs = 0
  readonly #timers = new Set<Timer>()

  /** Timers that have not gone off and were not stopped. */
  get timers(): number {
    return this.#timers.size
  }

  now(): number {
    return this.#nowMs
  }

  after(ms: number, action: () => void): () => void {
    const timer = { dueMs: this.#nowMs + ms, action }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  /** Moves the time on; timers go off in their order, and what they start runs before the next one. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms
    for (;;) {
      const due = [...this.#timers].filter(({ dueMs }) => dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs)[0]
      if (due === undefined) break
      this.#timers.delete(due)
      this.#nowMs = Math.max(this.#nowMs, due.dueMs)
      due.action()
      await settle()
    }
    this.#nowMs = endMs
    await settle()
  }
}
