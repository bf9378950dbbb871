// A clock that stands still until a test moves it, and whose time of day can be set.
import type { Clock } from '../../protocol/peer.ts'

interface Timer {
  readonly atMs: number
  readonly action: () => void
}

/** Lets everything that is ready run: several turns of the event loop. */
export const settle = async (turns = 5): Promise<void> => {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => void setImmediate(resolve))
}

export class HandClock implements Clock {
  #elapsedMs: number
  /** What the time of day was set to beyond what has passed. */
  #aheadMs = 0
  readonly #timers = new Set<Timer>()

  constructor(nowMs = 0) {
    this.#elapsedMs = nowMs
  }

  /** Timers that have neither fired nor been stopped. */
  get waiting(): number {
    return this.#timers.size
  }

  now(): number {
    return this.#elapsedMs + this.#aheadMs
  }

  elapsed(): number {
    return this.#elapsedMs
  }

  /** Sets the time of day, as an administrator or a time server does; no timer comes due by it. */
  set(nowMs: number): void {
    this.#aheadMs = nowMs - this.#elapsedMs
  }

  after(ms: number, action: () => void): () => void {
    const timer = { atMs: this.#elapsedMs + ms, action }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  /** Moves on by so many milliseconds; timers that come due fire in the order of their times. */
  advance(ms: number): void {
    const endMs = this.#elapsedMs + ms
    while (this.#fireNext(endMs));
    this.#elapsedMs = endMs
  }

  /** As `advance`, but what a timer starts runs before the next one fires. */
  async advanceSettled(ms: number): Promise<void> {
    const endMs = this.#elapsedMs + ms
    while (this.#fireNext(endMs)) await settle()
    this.#elapsedMs = endMs
    await settle()
  }

  #fireNext(endMs: number): boolean {
    const [due] = [...this.#timers].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)
    if (due === undefined) return false
    this.#timers.delete(due)
    this.#elapsedMs = Math.max(this.#elapsedMs, due.atMs)
    due.action()
    return true
  }
}
