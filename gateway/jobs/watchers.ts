// Who wants to hear of a job's progress; each watcher is told at most a few times a second.
import type { Clock } from '../../protocol/peer.ts'

/** Shortest time between two notices to one watcher, in milliseconds. */
const NOTICE_INTERVAL_MS = 200

/** Longest time without a look, in milliseconds: a command beside the gateway ends jobs without telling it. */
const LOOK_INTERVAL_MS = 10_000

export class Watchers {
  readonly #clock: Clock
  readonly #waiting = new Map<string, Set<() => void>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Something about the job changed. */
  notify(job: string): void {
    const waiting = this.#waiting.get(job)
    if (waiting === undefined) return
    this.#waiting.delete(job)
    for (const wake of waiting) wake()
  }

  /** Resolves after the next change, after LOOK_INTERVAL_MS, or when the signal aborts. */
  async changed(job: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    await new Promise<void>((resolve) => {
      const waiting = this.#waiting.get(job) ?? new Set()
      const wake = (): void => {
        signal.removeEventListener('abort', leave)
        stopTimer()
        resolve()
      }
      const leave = (): void => {
        waiting.delete(wake)
        if (waiting.size === 0 && this.#waiting.get(job) === waiting) this.#waiting.delete(job)
        wake()
      }
      const stopTimer = this.#clock.after(LOOK_INTERVAL_MS, leave)
      this.#waiting.set(job, waiting)
      waiting.add(wake)
      signal.addEventListener('abort', leave, { once: true })
    })
    // changes that come meanwhile are seen by the look that follows
    if (!signal.aborted) await new Promise<void>((resolve) => this.#clock.after(NOTICE_INTERVAL_MS, resolve))
  }
}
