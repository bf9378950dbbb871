// Events as a list that is live: read page by page, and again as soon as the gateway says that there are new ones.
import { effect, untracked } from '@preact/signals'
import type { Event, EventKind } from '../../../protocol/events.ts'
import type { Clock } from '../../../protocol/peer.ts'
import { clock as browserClock } from '../net/clock.ts'
import type { Link } from '../net/link.ts'
import { Pages } from '../net/pages.ts'

const PAGE_ROWS = 100

/** New events are read together after so many milliseconds, and so far apart at least. */
const GATHER_MS = 300
const APART_MS = 1000

/** How long it waits before it follows again what ended by itself, in milliseconds. */
const PAUSE_MS = 5000

/** The list is read again so often, whatever was told, in milliseconds. */
const REFRESH_MS = 60_000

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
      everyMs: REFRESH_MS,
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
    let stopPause: (() => void) | null = null
    let notBeforeMs = 0
    const renew = (): void => {
      stopTimer ??= this.#clock.after(Math.max(GATHER_MS, notBeforeMs - this.#clock.elapsed()), () => {
        stopTimer = null
        notBeforeMs = this.#clock.elapsed() + APART_MS
        void this.pages.renew()
      })
    }
    const watch = async (): Promise<void> => {
      const call = this.#link.open('events.watch', { ...this.#asked, after: null }, { signal: over.signal })
      call.result.catch(() => {})
      for await (const { events } of call.messages) if (events.length > 0) renew()
    }
    const follow = (): void => {
      const again = (): void => {
        if (over.signal.aborted) return
        stopPause = this.#clock.after(PAUSE_MS, () => {
          follow()
          // what happened meanwhile
          renew()
        })
      }
      // the list itself says what is wrong, and a connection that is lost is followed anew
      watch().then(again, again)
    }
    follow()
    return () => {
      over.abort()
      stopTimer?.()
      stopPause?.()
    }
  }
}
