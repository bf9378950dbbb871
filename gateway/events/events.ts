// What happens, told by all parts of the gateway: written in order without anyone waiting for it, and given to those who watch.
import { asVarveError } from '../../protocol/errors.ts'
import type { HappeningKind, Severity } from '../../protocol/events.ts'
import { Queue } from '../../protocol/host/limiter.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import {
  EVENTS_PAGE_MAX,
  type ConditionChange,
  type ConditionClear,
  type ConditionSet,
  type EventRow,
  type NewEvent,
} from '../catalog/events.ts'

/** Events that wait to be written, as on a full disk; further ones are counted. */
export const EVENTS_WAITING_MAX = 10_000

/** How long an event waits for others that are written with it, in milliseconds. */
export const BATCH_MS = 100

/** How long after a failure what waits is written again, in milliseconds. */
export const RETRY_MS = 2000

/** What happens once; what is absent is nothing, and `info`. */
export interface Happening {
  readonly kind: HappeningKind
  readonly severity?: Severity
  /** Uuid of the tenant; null for the platform. */
  readonly tenant: string | null
  readonly machine?: string | null
  /** One sentence for people. */
  readonly text: string
  readonly data?: NewEvent['data']
}

interface EventsOptions {
  readonly catalog: Pick<Catalog, 'conditions' | 'events'>
  readonly clock: Clock
  readonly log: Log
}

/** A condition as it is set and cleared: what is absent is nothing. */
type Lax<C> = Omit<C, 'holds' | 'machine' | 'data'> & Partial<Pick<ConditionSet, 'machine' | 'data'>>

/** Conditions: each change is told exactly once, whoever dies meanwhile. */
export class ConditionBook {
  readonly #apply: (changes: readonly ConditionChange[]) => Promise<boolean[]>

  constructor(apply: (changes: readonly ConditionChange[]) => Promise<boolean[]>) {
    this.#apply = apply
  }

  /** Whether it is another one than before. It does not hold yet, or has another value or severity: that is told. */
  async set(condition: Lax<ConditionSet>): Promise<boolean> {
    const [changed = false] = await this.#apply([{ machine: null, data: {}, ...condition, holds: true }])
    return changed
  }

  /** Whether it held: that it is good again is told. */
  async clear(condition: Lax<ConditionClear>): Promise<boolean> {
    const [changed = false] = await this.#apply([{ machine: null, data: {}, ...condition, holds: false }])
    return changed
  }

  /** Many of them, in their order; says of each whether it changed. Transactions of at most EVENTS_PAGE_MAX. */
  async apply(changes: readonly ConditionChange[]): Promise<boolean[]> {
    const changed: boolean[] = []
    for (let from = 0; from < changes.length; from += EVENTS_PAGE_MAX)
      changed.push(...(await this.#apply(changes.slice(from, from + EVENTS_PAGE_MAX))))
    return changed
  }
}

/** What parts that only tell are given. */
export type Teller = Pick<Events, 'tell' | 'wake'>

/** Tells nobody, for tests and for parts that stand alone. */
export const UNTOLD: Teller = { tell: () => {}, wake: () => {} }

export class Events implements AsyncDisposable {
  readonly conditions: ConditionBook
  readonly #catalog: EventsOptions['catalog']
  readonly #clock: Clock
  readonly #log: Log
  readonly #writes = new Queue()
  /** In the order in which they happened; what cannot be written stays. */
  readonly #waiting: NewEvent[] = []
  /** How many came to wait so far, and how many of them are written. */
  #told = 0
  #written = 0
  /** How many were dropped since there was no room, by tenant. */
  readonly #lost = new Map<string | null, number>()
  readonly #listeners = new Set<() => void>()
  #stopTimer: (() => void) | null = null
  #closed = false

  constructor({ catalog, clock, log }: EventsOptions) {
    this.#catalog = catalog
    this.#clock = clock
    this.#log = log
    this.conditions = new ConditionBook((changes) => {
      const told = this.#told
      return this.#writes.run(() => this.#change(changes, told))
    })
  }

  /** Events that wait to be written. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Tells what happened; never throws, and nobody waits. What would exceed EVENTS_WAITING_MAX is counted. */
  tell({ kind, severity = 'info', tenant, machine = null, text, data = {} }: Happening): void {
    if (this.#closed || this.#waiting.length >= EVENTS_WAITING_MAX)
      return void this.#lost.set(tenant, (this.#lost.get(tenant) ?? 0) + 1)
    this.#wait({ timeMs: this.#clock.now(), kind, severity, tenant, machine, text, data })
    this.#later(this.#waiting.length >= EVENTS_PAGE_MAX ? 0 : BATCH_MS)
  }

  /** The catalog has events that were written in the transaction of what they tell: those who watch look at once. */
  wake(): void {
    for (const listener of this.#listeners) listener()
  }

  /** Events of all tenants behind a place in the order of all. */
  after(seq: number, limit = EVENTS_PAGE_MAX): Promise<EventRow[]> {
    return this.#catalog.events.after({ seq, limit })
  }

  /** Calls the listener after each change until it is told to stop; the returned function does that. */
  listen(listener: () => void): () => void {
    // a listener of its own, though the same function is given twice
    const own = (): void => listener()
    this.#listeners.add(own)
    return () => void this.#listeners.delete(own)
  }

  /** Writes what waits; what cannot be written now stays for the next time. */
  async flush(): Promise<void> {
    await this.#writes.run(() => this.#write().catch(() => {}))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopTimer?.()
    await this.flush()
    this.#closed = true
    this.#stopTimer?.()
    this.#stopTimer = null
    if (this.#waiting.length > 0) this.#log.error({ events: this.#waiting.length }, 'events are lost at the end')
  }

  #later(ms: number): void {
    if (this.#closed) return
    if (this.#stopTimer !== null && ms > 0) return
    this.#stopTimer?.()
    this.#stopTimer = this.#clock.after(ms, () => {
      this.#stopTimer = null
      void this.flush()
    })
  }

  #wait(event: NewEvent): void {
    this.#waiting.push(event)
    this.#told++
  }

  /** A condition goes behind what was told before it, and before what was told afterwards. */
  async #change(changes: readonly ConditionChange[], told: number): Promise<boolean[]> {
    await this.#write(told)
    const changed = await this.#catalog.conditions.apply({ changes, nowMs: this.#clock.now() })
    if (changed.includes(true)) this.wake()
    return changed
  }

  /** Writes what waits, or the first ones up to that number. */
  async #write(told = Number.POSITIVE_INFINITY): Promise<void> {
    try {
      while (this.#waiting.length > 0 && this.#written < told) {
        const events = this.#waiting.slice(0, Math.min(EVENTS_PAGE_MAX, told - this.#written))
        await this.#catalog.events.append({ events })
        this.#waiting.splice(0, events.length)
        this.#written += events.length
        this.#sumUp()
        this.wake()
      }
    } catch (thrown) {
      const error = asVarveError(thrown)
      this.#log.error({ err: error, waiting: this.#waiting.length }, 'events cannot be written')
      this.#later(RETRY_MS)
      throw error
    }
  }

  /** Says of each tenant how many of its events were dropped, once there is room again. */
  #sumUp(): void {
    for (const [tenant, count] of this.#lost) {
      if (this.#waiting.length >= EVENTS_WAITING_MAX) return
      const text = `${count} events could not be written and are lost`
      const about = { kind: 'events.lost', severity: 'warning', machine: null, data: { count } } as const
      this.#wait({ ...about, timeMs: this.#clock.now(), tenant, text })
      this.#lost.delete(tenant)
    }
  }
}
