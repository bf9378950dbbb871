// Events as a list that is live: read page by page, and again as soon as the gateway says that there are new ones.
import { effect, untracked } from '@preact/signals'
import type { Event, EventKind } from '../../../protocol/events.ts'
import type { Clock } from '../../../protocol/peer.ts'
import { clock as browserClock } from '../net/clock.ts'
import type { Link } from '../net/link.ts'
import { Pages } from '../net/pages.ts'

const PAGE_ROWS = 100

/** New events are read together after so many milliseconds. */
const GATHER_MS = 300

export interface EventFilter {
  readonly kind: EventKind | null
  readonly machine: string | null
}

export class EventFeed {
  readonly pages: Pages<Event>
  readonly #link: Link
  readonly #filter: EventFilter
  readonly #clock: Clock

  constructor(link: Link, filter: EventFilter, clock: Clock = browserClock) {
    this.#link = link
    this.#filter = filter
    this.#clock = clock
    this.pages = new Pages({
      link,
      everyMs: null,
      clock,
      read: async (after, signal) => {
        const { events, next } = await link.call('events.list', { ...this.#asked, after, limit: PAGE_ROWS }, { signal })
        return { rows: events, next }
      },
    })
  }

  get #asked(): { kinds: EventKind[] | null; machine: string | null } {
    const { kind, machine } = this.#filter
    return { kinds: kind === null ? null : [kind], machine }
  }

  /** Somebody looks, until the returned function is called. */
  watch(): () => void {
    const leave = this.pages.watch()
    let stopFollowing: (() => void) | null = null
    const stop = effect(() => {
      void this.#link.openings.value
      stopFollowing?.()
      stopFollowing = null
      if (this.#link.state.value.kind === 'open') stopFollowing = untracked(() => this.#follow())
    })
    return () => {
      stop()
      stopFollowing?.()
      leave()
    }
  }

  #follow(): () => void {
    const over = new AbortController()
    let stopTimer: (() => void) | null = null
    const refresh = (): void => {
      stopTimer ??= this.#clock.after(GATHER_MS, () => {
        stopTimer = null
        void this.pages.refresh()
      })
    }
    const work = async (): Promise<void> => {
      const call = this.#link.open('events.watch', { ...this.#asked, after: null }, { signal: over.signal })
      for await (const { events } of call.messages) if (events.length > 0) refresh()
    }
    // the list itself says what is wrong, and a connection that is lost is followed anew
    work().catch(() => {})
    return () => {
      over.abort()
      stopTimer?.()
    }
  }
}
