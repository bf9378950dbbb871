// Events for those who look: lists, and streams that resume where they were.
import type { EVENT_METHODS } from '../../protocol/event-methods.ts'
import { EVENTS_MESSAGE_MAX } from '../../protocol/event-methods.ts'
import type { Event } from '../../protocol/events.ts'
import type { Clock } from '../../protocol/peer.ts'
import { notFound } from '../auth/authorise.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { EventRow } from '../catalog/events.ts'
import type { Events } from '../events/events.ts'
import type { ActionsOf, Actor } from './action.ts'
import { COUNT_KEY, keyBehind, nextOf, pageOf } from './page.ts'

/** Shortest time between two looks for one watcher, in milliseconds. */
export const PAUSE_MS = 200

/** Longest time between two looks, in milliseconds: a command beside the gateway tells without waking it. */
export const LOOK_MS = 10_000

interface Uses {
  readonly catalog: Pick<Catalog, 'events'>
  readonly events: Pick<Events, 'listen'>
  readonly clock: Clock
}

/** An event as its tenant sees it. */
const view = ({ number, seq: _seq, tenant: _tenant, tenantName, ...event }: EventRow): Event => ({
  ...event,
  seq: number,
  tenant: tenantName,
})

/** What wakes a watcher: it hears of changes from its start on, and of those that come while it looks as well. */
class Alarm implements Disposable {
  readonly #clock: Clock
  readonly #unlisten: () => void
  #rang = false
  #wake: (() => void) | null = null

  constructor({ events, clock }: Pick<Uses, 'events' | 'clock'>) {
    this.#clock = clock
    this.#unlisten = events.listen(() => {
      this.#rang = true
      this.#wake?.()
    })
  }

  /** Resolves PAUSE_MS after this call at the earliest, once it rang, after LOOK_MS, or at once when the signal aborts. */
  async next(signal: AbortSignal): Promise<void> {
    await this.#sleep(PAUSE_MS, signal)
    if (!this.#rang) await this.#sleep(LOOK_MS - PAUSE_MS, signal, true)
    this.#rang = false
  }

  async #sleep(ms: number, signal: AbortSignal, wakes = false): Promise<void> {
    if (signal.aborted) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const stopTimer = this.#clock.after(ms, resolve)
    if (wakes) this.#wake = resolve
    const leave = (): void => resolve()
    signal.addEventListener('abort', leave, { once: true })
    await promise
    signal.removeEventListener('abort', leave)
    this.#wake = null
    stopTimer()
  }

  [Symbol.dispose](): void {
    this.#unlisten()
  }
}

/** NOT_FOUND for a machine that is not the actor's; the platform has none. */
const known = async (
  machine: string | null,
  { tenant }: Actor,
  find: (name: string) => Promise<object>,
): Promise<void> => {
  if (machine === null) return
  if (tenant === null) throw notFound(`machine "${machine}"`)
  await find(machine)
}

export const eventActions = (uses: Uses): ActionsOf<keyof typeof EVENT_METHODS> => {
  const { catalog } = uses
  return {
    'events.list': {
      turn: 'listing',
      run: async ({ kinds, machine, after, limit }, { actor, machine: find }) => {
        await known(machine, actor, find)
        const list = `events.list ${kinds?.join(' ') ?? ''} ${machine ?? ''}`
        const before = keyBehind(list, after, COUNT_KEY)?.[0] ?? null
        const tenant = actor.tenant?.id ?? null
        const rows = await catalog.events.list({ tenant, kinds, machine, before, limit: limit + 1 })
        const page = pageOf(rows, limit)
        return { events: page.rows.map(view), next: nextOf(list, page, ({ number }) => [number]) }
      },
    },

    'events.watch': {
      run: async ({ kinds, machine, after }, { actor, machine: find, call, inTurn }) => {
        await inTurn(() => known(machine, actor, find))
        const tenant = actor.tenant?.id ?? null
        using alarm = new Alarm(uses)
        let at = after ?? (await inTurn(() => catalog.events.bounds({ tenant }))).last
        for (let first = true; ; first = false) {
          const asked = { tenant, kinds, machine, after: at, limit: EVENTS_MESSAGE_MAX }
          const found = await inTurn(() => catalog.events.follow(asked))
          // numbers begin anew where a lost catalog was built again from the packs
          const anew = at > found.last
          const events = anew ? [] : found.events
          const seq = anew ? 0 : found.upTo
          const trimmedTo = !anew && at < found.first - 1 ? found.first - 1 : null
          if (first || anew || trimmedTo !== null || events.length > 0)
            await call.send({ events: events.map(view), seq, trimmedTo })
          at = seq
          if (!anew && events.length < EVENTS_MESSAGE_MAX) await alarm.next(call.signal)
          call.signal.throwIfAborted()
        }
      },
    },
  }
}
