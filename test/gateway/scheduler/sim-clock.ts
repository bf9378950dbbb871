// A clock whose time passes as fast as what it starts is done, and whose time of day can be set.
import type { Clock } from '../../../protocol/peer.ts'

interface Timer {
  readonly atMs: number
  readonly order: number
  readonly action: () => void
  stopped: boolean
}

export class SimClock implements Clock {
  #elapsedMs = 0
  #epochMs: number
  #order = 0
  /** A heap by time, and by order of what comes at one instant. */
  readonly #timers: Timer[] = []

  constructor(nowMs: number) {
    this.#epochMs = nowMs
  }

  now(): number {
    return this.#epochMs + this.#elapsedMs
  }

  elapsed(): number {
    return this.#elapsedMs
  }

  /** Sets the time of day ahead, or back by a negative number; no timer comes due by it. */
  step(ms: number): void {
    this.#epochMs += ms
  }

  after(ms: number, action: () => void): () => void {
    const timer = { atMs: this.#elapsedMs + Math.max(0, ms), order: this.#order++, action, stopped: false }
    this.#push(timer)
    return () => void (timer.stopped = true)
  }

  /** Lets time pass until `untilMs` have; `idle` waits until all that a timer has started is done. */
  async run(untilMs: number, idle: () => Promise<void>): Promise<void> {
    for (;;) {
      const next = this.#timers[0]
      if (next === undefined || next.atMs > untilMs) break
      this.#pop()
      if (next.stopped) continue
      this.#elapsedMs = Math.max(this.#elapsedMs, next.atMs)
      next.action()
      await idle()
    }
    this.#elapsedMs = untilMs
  }

  #before(a: number, b: number): boolean {
    const [one, two] = [this.#timers[a]!, this.#timers[b]!]
    return one.atMs - two.atMs < 0 || (one.atMs === two.atMs && one.order < two.order)
  }

  #swap(a: number, b: number): void {
    ;[this.#timers[a], this.#timers[b]] = [this.#timers[b]!, this.#timers[a]!]
  }

  #push(timer: Timer): void {
    this.#timers.push(timer)
    for (let at = this.#timers.length - 1; at > 0;) {
      const above = (at - 1) >> 1
      if (!this.#before(at, above)) break
      this.#swap(at, above)
      at = above
    }
  }

  #pop(): void {
    this.#swap(0, this.#timers.length - 1)
    this.#timers.pop()
    for (let at = 0; ;) {
      let least = at
      for (const below of [2 * at + 1, 2 * at + 2])
        if (below < this.#timers.length && this.#before(below, least)) least = below
      if (least === at) break
      this.#swap(at, least)
      at = least
    }
  }
}
