// The loop that works through events, decides what is told to whom, and sends what waits.
import { randomUUID } from 'node:crypto'
import { asVarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { EVENTS_PAGE_MAX, type EventRow } from '../catalog/events.ts'
import type { DueNotice, ScopeAsked, ScopeChange } from '../catalog/notices.ts'
import { nextAttempt } from './backoff.ts'
import type { DeadMan } from './dead-man.ts'
import { SEND_DEADLINE_MS, type Outward } from './outward.ts'
import { planNotices, type Round } from './plan.ts'

/** Messages that are sent at once; never two to one target. */
export const SENDS_MAX = 32

/** Of those the messages of one tenant: whose servers hang takes no other's turn. */
export const SENDS_TENANT_MAX = 8

/** Longest and shortest sleep of the loop, in milliseconds. */
export const SLEEP_MAX_MS = 60_000
const SLEEP_MIN_MS = 1000

/** How long a message that is being sent is left alone by others, in milliseconds: past it, who took it is dead. */
const CLAIM_MS = 4 * SEND_DEADLINE_MS

/** The time of day went back where it lags behind the monotonic clock by more than this, in milliseconds. */
const STEP_MS = 60_000

/** How often the outbox is trimmed, in milliseconds. */
const TRIM_INTERVAL_MS = 3_600_000

export interface NotifierOptions {
  readonly catalog: Pick<Catalog, 'events' | 'notices'>
  /** Calls back after events; the returned function ends that. */
  readonly listen: (listener: () => void) => () => void
  readonly outward: Pick<Outward, 'send'>
  readonly deadMan: Pick<DeadMan, 'tick'>
  readonly clock: Clock
  readonly log: Log
}

/** The scopes that events speak of, with their keys. */
const askedOf = (events: readonly EventRow[]): ScopeAsked[] => {
  const keys = new Map<string | null, Set<string>>()
  for (const { tenant, key } of events) {
    const known = keys.get(tenant) ?? new Set()
    keys.set(tenant, known)
    if (key !== null) known.add(key)
  }
  return [...keys].map(([tenant, of]) => ({ tenant, keys: [...of] }))
}

/** Turns events into messages and sends them, until it is disposed of. */
export class Notifier implements AsyncDisposable {
  readonly #options: NotifierOptions
  readonly #stop = new AbortController()
  readonly #unlisten: () => void
  /** Targets that something is being sent to. */
  readonly #busy = new Map<string, Promise<void>>()
  #stopTimer: () => void = () => {}
  #running: Promise<void> | null = null
  #again = false
  #trimmedMs: number | null = null
  /** The time of day less the monotonic clock, as it was last; null before the first look. */
  #aheadMs: number | null = null
  /** Scopes that cannot be worked through: said once. */
  readonly #failing = new Set<string | null>()

  constructor(options: NotifierOptions) {
    this.#options = options
    this.#unlisten = options.listen(() => this.wake())
    this.wake()
  }

  /** Looks at once for what there is to do. */
  wake(): void {
    if (this.#stop.signal.aborted) return
    if (this.#running !== null) return void (this.#again = true)
    this.#stopTimer()
    this.#running = this.#rounds()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unlisten()
    this.#stopTimer()
    this.#stop.abort(new Error('the gateway is stopping'))
    await this.#running
    await Promise.all(this.#busy.values())
  }

  async #rounds(): Promise<void> {
    let sleepMs: number
    do {
      this.#again = false
      sleepMs = await this.#round().catch((thrown: unknown) => {
        if (!this.#stop.signal.aborted)
          this.#options.log.error({ err: asVarveError(thrown) }, 'notifications stand still')
        return SLEEP_MAX_MS
      })
    } while (this.#again && !this.#stop.signal.aborted)
    // at once, so that a wake that comes from here on begins a round
    this.#running = null
    if (this.#stop.signal.aborted) return
    this.#stopTimer = this.#options.clock.after(sleepMs, () => this.wake())
  }

  /** One look at everything; how long nothing more is to be done, in milliseconds. */
  async #round(): Promise<number> {
    const { catalog, clock, deadMan } = this.#options
    await this.#noteClock()
    while (!this.#stop.signal.aborted && (await this.#plan()));
    await this.#send()
    await this.#trim()
    const pingMs = await deadMan.tick(this.#stop.signal)
    const dueMs = await catalog.notices.nextDue()
    const sleeps = [SLEEP_MAX_MS, ...(pingMs === null ? [] : [pingMs])]
    if (dueMs !== null) sleeps.push(dueMs - clock.now())
    // what is due and waits for its target is looked at again when that is free
    return Math.max(SLEEP_MIN_MS, Math.min(...sleeps))
  }

  /** What waits for a time of day would wait too long once that was set back, also while no gateway ran. */
  async #noteClock(): Promise<void> {
    const { catalog, clock } = this.#options
    const nowMs = clock.now()
    const aheadMs = nowMs - clock.elapsed()
    if (this.#aheadMs === null || aheadMs < this.#aheadMs - STEP_MS) await catalog.notices.again({ nowMs })
    this.#aheadMs = aheadMs
  }

  /** What one scope changes and says; null where that fails, which must not stop the others. */
  #planned(round: Round): ScopeChange | null {
    const { tenant } = round.scope
    try {
      const change = planNotices(round)
      this.#failing.delete(tenant)
      return change
    } catch (thrown) {
      const about = { err: asVarveError(thrown), tenant: round.scope.tenantName }
      if (!this.#failing.has(tenant)) this.#options.log.error(about, 'the notifications of one scope stand still')
      this.#failing.add(tenant)
      return null
    }
  }

  /** Works through one page of events, and through what is due; true where more follows. */
  async #plan(): Promise<boolean> {
    const { catalog, clock } = this.#options
    const from = await catalog.notices.cursor()
    const events = await catalog.events.after({ seq: from, limit: EVENTS_PAGE_MAX })
    const more = events.length === EVENTS_PAGE_MAX
    const nowMs = clock.now()
    const scopes = await catalog.notices.world({ scopes: askedOf(events), nowMs })
    const changes = scopes.flatMap((scope) => {
      const own = events.filter(({ tenant }) => tenant === scope.tenant)
      return this.#planned({ scope, events: own, more, nowMs, newId: randomUUID }) ?? []
    })
    const to = events.at(-1)?.seq ?? from
    if (to === from && changes.length === 0) return false
    // where another gateway was faster, its work is the base of the next look
    const committed = await catalog.notices.commit({ from, to, changes, nowMs })
    return more || !committed
  }

  async #send(): Promise<void> {
    const { catalog, clock } = this.#options
    const due = await catalog.notices.due({ nowMs: clock.now(), limit: SENDS_MAX + this.#busy.size })
    for (const notice of due) {
      const of = `${notice.tenant ?? ''} `
      const key = `${of}${notice.target}`
      if (this.#busy.has(key) || this.#stop.signal.aborted) continue
      const own = [...this.#busy.keys()].filter((other) => other.startsWith(of)).length
      // the platform's own go out however many tenants' servers hang
      if (own >= SENDS_TENANT_MAX || (notice.tenant !== null && this.#busy.size >= SENDS_MAX)) continue
      const sending = this.#sendOne(notice).finally(() => {
        this.#busy.delete(key)
        this.wake()
      })
      this.#busy.set(key, sending)
    }
  }

  async #sendOne(notice: DueNotice): Promise<void> {
    const { catalog, outward, clock, log } = this.#options
    const { id, tenant, target, to, message, madeMs } = notice
    const about = { notice: id, tenant: message.tenant, target }
    try {
      const nowMs = clock.now()
      if (!(await catalog.notices.claim({ id, nowMs, untilMs: nowMs + CLAIM_MS }))) return
      const { sent, answer } = await outward.send(tenant, to, message, this.#stop.signal)
      // what was cut off by the end of the gateway is sent again by the next one
      if (!sent && this.#stop.signal.aborted) return
      const endMs = clock.now()
      const nextMs = sent ? null : nextAttempt(notice.attempts + 1, madeMs, endMs)
      const state = sent ? 'sent' : nextMs === null ? 'dead' : 'waiting'
      await catalog.notices.settle({ id, state, error: sent ? null : answer, nextMs, nowMs: endMs })
      if (sent) log.info(about, 'a message was sent')
      else log.warn({ ...about, attempts: notice.attempts + 1, nextMs, answer }, 'a message could not be sent')
    } catch (thrown) {
      log.error({ err: asVarveError(thrown), ...about }, 'a message could not be sent')
    }
  }

  async #trim(): Promise<void> {
    const { catalog, clock } = this.#options
    if (this.#trimmedMs !== null && clock.elapsed() - this.#trimmedMs < TRIM_INTERVAL_MS) return
    this.#trimmedMs = clock.elapsed()
    await catalog.notices.trim({ nowMs: clock.now() })
  }
}
