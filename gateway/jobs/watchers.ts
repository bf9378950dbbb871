// Watchers of a job's progress: each is notified at most a few times a second, and of the end at once.
import type { Clock } from '../../protocol/peer.ts'
import { UNTOLD, type Teller } from '../events/events.ts'

/** Shortest time between two notices of progress to one watcher, in milliseconds. */
const NOTICE_INTERVAL_MS = 200

/** Longest time between two queries, in milliseconds: a command beside the gateway ends jobs without notifying it. */
const LOOK_INTERVAL_MS = 10_000

type Event = 'start' | 'progress' | 'end'

interface Waiter {
  readonly events: readonly Event[]
  readonly wake: (event: Event) => void
}

export class Watchers {
  readonly #clock: Clock
  readonly #events: Teller
  readonly #waiting = new Map<string, Set<Waiter>>()

  /** `events` are woken when a job starts or ends: the catalog has told of it. */
  constructor(clock: Clock, events: Teller = UNTOLD) {
    this.#clock = clock
    this.#events = events
  }

  /** A job started, something about it changed, or it ended. */
  notify(job: string, event: Event): void {
    if (event !== 'progress') this.#events.wake()
    for (const { events, wake } of this.#waiting.get(job) ?? []) if (events.includes(event)) wake(event)
  }

  /** Resolves after the next change, after LOOK_INTERVAL_MS, or when the signal aborts. */
  async changed(job: string, signal: AbortSignal): Promise<void> {
    const event = await this.#wait(job, signal, LOOK_INTERVAL_MS, ['progress', 'end'])
    // the next query sees changes that come meanwhile
    if (event !== 'end') await this.#wait(job, signal, NOTICE_INTERVAL_MS, ['end'])
  }

  /** The event that came within the time, if one did before the signal aborted. */
  async #wait(job: string, signal: AbortSignal, limitMs: number, events: readonly Event[]): Promise<Event | null> {
    if (signal.aborted) return null
    const { promise, resolve } = Promise.withResolvers<Event | null>()
    const waiter: Waiter = { events, wake: resolve }
    const waiting = this.#waiting.get(job) ?? new Set()
    this.#waiting.set(job, waiting.add(waiter))
    const leave = (): void => resolve(null)
    const stopTimer = this.#clock.after(limitMs, leave)
    signal.addEventListener('abort', leave, { once: true })
    try {
      return await promise
    } finally {
      stopTimer()
      signal.removeEventListener('abort', leave)
      waiting.delete(waiter)
      if (waiting.size === 0 && this.#waiting.get(job) === waiting) this.#waiting.delete(job)
    }
  }
}
