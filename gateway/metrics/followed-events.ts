// Events as they come, for whoever measures: read in their order behind a place in memory, from where they were at the start.
import { asVarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import { EVENTS_PAGE_MAX, type EventRow } from '../catalog/events.ts'
import type { Events } from '../events/events.ts'

/** How long a change waits for others that are read with it, in milliseconds. */
export const FOLLOW_MS = 1000

export interface FollowOptions {
  readonly events: Pick<Events, 'after' | 'listen'>
  /** Place of the last event that is not taken any more. */
  readonly from: number
  readonly take: (event: EventRow) => void
  readonly clock: Clock
  readonly log: Log
}

export class FollowedEvents implements AsyncDisposable {
  readonly #options: FollowOptions
  #seq: number
  #reading: Promise<void> | null = null
  #stopTimer: (() => void) | null = null
  readonly #stopListening: () => void
  #stopped = false

  constructor(options: FollowOptions) {
    this.#options = options
    this.#seq = options.from
    this.#stopListening = options.events.listen(() => this.#later())
  }

  /** Takes all that is there now. */
  async read(): Promise<void> {
    await this.#reading
    this.#reading ??= this.#read().finally(() => (this.#reading = null))
    await this.#reading
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopListening()
    this.#stopTimer?.()
    await this.read()
    this.#stopped = true
  }

  #later(): void {
    if (this.#stopped) return
    this.#stopTimer ??= this.#options.clock.after(FOLLOW_MS, () => {
      this.#stopTimer = null
      void this.read()
    })
  }

  async #read(): Promise<void> {
    const { events, take, log } = this.#options
    try {
      for (let more = true; more && !this.#stopped;) {
        const page = await events.after(this.#seq)
        for (const event of page) {
          this.#seq = event.seq
          take(event)
        }
        more = page.length === EVENTS_PAGE_MAX
      }
    } catch (thrown) {
      // they are read with the next ones
      if (!this.#stopped) log.warn({ err: asVarveError(thrown) }, 'events cannot be read to be counted')
    }
  }
}
