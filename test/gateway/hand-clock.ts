// A clock that stands still until a test moves it.
import type { Clock } from '../../protocol/peer.ts'

interface Timer {
  readonly atMs: number
  readonly action: () => void
}

export class HandClock implements Clock {
  #nowMs: number
  readonly #timers = new Set<Timer>()

  constructor(nowMs: number) {
    this.#nowMs = nowMs
  }

  /** Timers that have not fired. */
  get waiting(): number {
    return this.#timers.size
  }

  now(): number {
    return this.#nowMs
  }

  after(ms: number, action: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, action }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  /** Moves on by so many milliseconds; timers that come due fire in the order of their times. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms
    for (;;) {
      const [due] = [...this.#timers].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)
      if (due === undefined) break
      this.#timers.delete(due)
      this.#nowMs = Math.max(this.#nowMs, due.atMs)
      due.action()
    }
    this.#nowMs = endMs
  }
}
