// Work done at a fixed pace, one piece at a time, and how long each piece took.
import { setTimeout as sleep } from 'node:timers/promises'

/** A distribution of times in milliseconds. */
export interface Spread {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly mostMs: number
}

const spreadOf = (times: readonly number[]): Spread => {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share: number): number =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN).toFixed(3))
  return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), mostMs: at(1) }
}

/** Runs from its making until `stop`; disposing it stops it too. */
export class Paced implements AsyncDisposable {
  readonly #times: number[] = []
  readonly #running: Promise<void>
  #over = false

  constructor(intervalMs: number, work: () => Promise<unknown>) {
    this.#running = this.#run(intervalMs, work)
    this.#running.catch(() => {})
  }

  /** Waits for the piece that is on its way; throws what a piece of work threw. */
  async stop(): Promise<Spread> {
    this.#over = true
    await this.#running
    return spreadOf(this.#times)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    await this.#running.catch(() => {})
  }

  async #run(intervalMs: number, work: () => Promise<unknown>): Promise<void> {
    let dueMs = performance.now()
    while (!this.#over) {
      const waitMs = dueMs - performance.now()
      if (waitMs > 0) await sleep(waitMs)
      // A piece that had to wait for the one before took so much longer; a timer that fired late is our own affair.
      const startedMs = waitMs > 0 ? performance.now() : dueMs
      await work()
      this.#times.push(performance.now() - startedMs)
      dueMs += intervalMs
    }
  }
}
