// How long the gateway has something of an upload in its hands: received, and not done with.
import type { Clock } from '../../protocol/peer.ts'

/** A stretch of time, and how much of it something was in hand; in milliseconds. */
export interface Held {
  readonly overMs: number
  readonly heldMs: number
}

export class Hand {
  readonly #clock: Clock
  #things = 0
  #heldMs = 0
  /** When what is in hand now was looked at last. */
  #sinceMs: number
  #fromMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#fromMs = clock.elapsed()
    this.#sinceMs = this.#fromMs
  }

  take(): void {
    this.#settle()
    this.#things++
  }

  give(): void {
    this.#settle()
    this.#things--
  }

  /** Runs work that the other side waits for. */
  async during<R>(work: Promise<R>): Promise<R> {
    this.take()
    try {
      return await work
    } finally {
      this.give()
    }
  }

  /** How long ago the last stretch ended, in milliseconds. */
  get overMs(): number {
    return this.#clock.elapsed() - this.#fromMs
  }

  /** The stretch since the last one, which ends now. */
  stretch(): Held {
    this.#settle()
    const held = { overMs: this.overMs, heldMs: this.#heldMs }
    this.#fromMs = this.#clock.elapsed()
    this.#heldMs = 0
    return held
  }

  #settle(): void {
    const nowMs = this.#clock.elapsed()
    if (this.#things > 0) this.#heldMs += nowMs - this.#sinceMs
    this.#sinceMs = nowMs
  }
}
