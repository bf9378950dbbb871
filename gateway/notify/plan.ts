// What to tell whom: one round over new events and over what is due, for one tenant or the platform. Pure.
import type { MessageItem } from '../../protocol/notify.ts'
import type { EventRow } from '../catalog/events.ts'
import type { NewNotice, NoticeItem, NoticeScope, ScopeChange, TargetRow } from '../catalog/notices.ts'
import { routeOf, worse, type Matched, type Meanings } from './match.ts'
import { noticeMessage, type Said } from './messages.ts'

/** Items of one target at most: further ones are told as a number. */
export const TARGET_ITEMS_MAX = 20_000

/** Items that are told one by one; more that come at once are told together. */
export const SINGLE_MAX = 5

const HOUR_MS = 3_600_000

export interface Round {
  readonly scope: NoticeScope
  /** New ones of this scope, in their order. */
  readonly events: readonly EventRow[]
  /** True where more events are known that this round does not have: nothing is told before they are seen. */
  readonly more: boolean
  readonly nowMs: number
  readonly newId: () => string
}

const idOf = ({ target, key }: { readonly target: string; readonly key: string }): string => `${target} ${key}`

/** What a match sees of an item: a good end, or a milder turn, goes where the worst of it was told. */
const matched = (item: NoticeItem): Matched =>
  item.told === null ? item : { ...item, severity: worse(item.severity, item.told.worst) }

/** The item of an event that a target has nothing of yet. */
const itemOf = (target: string, key: string, event: EventRow, nowMs: number): NoticeItem => {
  const { kind, severity, machine, group, active, timeMs, text, data } = event
  const what = { target, key, kind, severity, machine, group, active, text, data }
  return { ...what, sinceMs: timeMs, changedMs: timeMs, told: null, changes: 1, kept: null, dueMs: nowMs }
}

/** What is said of an item that is due; null for nothing. */
const stateOf = (item: NoticeItem, repeatMs: number | null, nowMs: number): MessageItem['state'] | null => {
  const { active, told, severity, text, changes, kept } = item
  const bounded = kept === 'hour'
  if (active === null) return 'happened'
  // under the hourly bound, what came and went is told all the same
  if (!active) return told !== null || bounded ? 'resolved' : null
  if (told === null) return 'active'
  if (told.severity !== severity || told.text !== text || (bounded && changes > 0)) return 'changed'
  return repeatMs !== null && nowMs >= told.atMs + repeatMs ? 'still' : null
}

/** The same, with how often the item is told again. */
interface Due extends Said {
  readonly repeatMs: number | null
}

class Planner {
  readonly #round: Round
  readonly #items: Map<string, NoticeItem>
  readonly #changed = new Map<string, NoticeItem>()
  readonly #removed = new Map<string, { readonly target: string; readonly key: string }>()
  readonly #counts: Record<string, number>
  readonly #held = new Map<string, number>()
  readonly #notices: NewNotice[] = []
  readonly #meanings: Meanings = new Map()

  constructor(round: Round) {
    this.#round = round
    this.#items = new Map(round.scope.items.map((item) => [idOf(item), item]))
    this.#counts = { ...round.scope.counts }
  }

  plan(): ScopeChange {
    const { scope, events, more } = this.#round
    for (const event of events)
      for (const target of scope.targets) if (event.seq > target.sinceSeq) this.#take(target, event)
    if (!more) for (const target of scope.targets) this.#speak(target)
    return {
      tenant: scope.tenant,
      items: [...this.#changed.values()],
      removed: [...this.#removed.values()],
      notices: this.#notices,
      held: Object.fromEntries(this.#held),
    }
  }

  #put(item: NoticeItem): void {
    this.#items.set(idOf(item), item)
    this.#changed.set(idOf(item), item)
    this.#removed.delete(idOf(item))
  }

  #remove(item: NoticeItem): void {
    const id = idOf(item)
    this.#items.delete(id)
    this.#changed.delete(id)
    this.#removed.set(id, { target: item.target, key: item.key })
  }

  #take(target: TargetRow, event: EventRow): void {
    const { nowMs, scope } = this.#round
    const key = event.active === null ? `event ${event.seq}` : (event.key ?? event.kind)
    const known = this.#items.get(idOf({ target: target.name, key }))
    if (known !== undefined) {
      const { severity, machine, group, active, timeMs, text, data } = event
      const sinceMs = known.active === false && active === true ? timeMs : known.sinceMs
      const now = {
        severity: active === false ? known.severity : severity,
        machine,
        group,
        active,
        text,
        data,
        sinceMs,
      }
      return this.#put({ ...known, ...now, changedMs: timeMs, changes: known.changes + 1, dueMs: nowMs })
    }
    if (event.active === false) return
    const item = itemOf(target.name, key, event, nowMs)
    const route = routeOf(scope, target.name, item, nowMs, this.#meanings)
    // what happens once while it is muted is not told afterwards
    if (route === null || (route.muted && event.active === null)) return
    const count = this.#counts[target.name] ?? 0
    if (count >= TARGET_ITEMS_MAX) return this.#hold(target, 1)
    this.#counts[target.name] = count + 1
    this.#put(item)
  }

  #heldOf(target: TargetRow): number {
    return this.#held.get(target.name) ?? target.held
  }

  #hold(target: TargetRow, changes: number): void {
    this.#held.set(target.name, this.#heldOf(target) + changes)
  }

  /** What is to be said of the target's items that are due; others get their next time, or go. */
  #due(target: TargetRow): Due[] {
    const { nowMs, scope } = this.#round
    const said: Due[] = []
    for (const item of this.#items.values()) {
      if (item.target !== target.name || item.dueMs === null || item.dueMs > nowMs) continue
      const route = routeOf(scope, target.name, matched(item), nowMs, this.#meanings)
      const state = route === null ? null : stateOf(item, route.repeatMs, nowMs)
      if (route === null || (state === null && item.active !== true) || (route.muted && item.active === null))
        this.#remove(item)
      else if (state === null) this.#put(waiting(item, route.repeatMs, nowMs))
      else if (route.atMs > nowMs) this.#put({ ...item, kept: item.kept ?? 'later', dueMs: route.atMs })
      else said.push({ item, state, repeatMs: route.repeatMs })
    }
    return said
  }

  #speak(target: TargetRow): void {
    const { nowMs, scope } = this.#round
    const said = this.#due(target)
    if (said.length === 0) return
    const lately = (scope.lately[target.name] ?? []).filter((madeMs) => madeMs > nowMs - HOUR_MS && madeMs <= nowMs)
    const free = target.hourly - lately.length
    if (free <= 0) {
      const dueMs = lately[lately.length - target.hourly]! + HOUR_MS
      for (const { item } of said) this.#put({ ...item, kept: 'hour', dueMs })
      return
    }
    const held = this.#heldOf(target)
    const late = held > 0 || said.some(({ item }) => item.kept !== null)
    // the oldest first, in the order in which they came
    const sorted = said.toSorted((a, b) => a.item.changedMs - b.item.changedMs)
    if (sorted.length === 1 || (!late && sorted.length <= Math.min(SINGLE_MAX, free)))
      for (const one of sorted) this.#post(target, [one], held)
    else this.#post(target, sorted, held)
    if (held > 0) this.#held.set(target.name, 0)
    for (const one of sorted) this.#told(one)
  }

  #post(target: TargetRow, said: readonly Said[], held: number): void {
    const { nowMs, newId, scope } = this.#round
    const id = newId()
    const to = { id, timeMs: nowMs, tenant: scope.tenantName, target: target.name }
    this.#notices.push({ id, target: target.name, message: noticeMessage(to, said, held) })
  }

  #told({ item, state, repeatMs }: Due): void {
    const { nowMs } = this.#round
    if (state === 'happened' || state === 'resolved') return this.#remove(item)
    const { severity, text } = item
    const worst = worse(severity, item.told?.worst ?? severity)
    const told = { ...item, told: { severity, worst, text, atMs: nowMs }, changes: 0, kept: null }
    this.#put({ ...told, dueMs: nextMs(told, repeatMs) })
  }
}

/** A told item that waits for its repeat; one that was told in the future, before the clock was set back, counts from now on. */
const waiting = (item: NoticeItem, repeatMs: number | null, nowMs: number): NoticeItem => {
  const told = item.told === null ? null : { ...item.told, atMs: Math.min(item.told.atMs, nowMs) }
  return { ...item, told, dueMs: nextMs({ ...item, told }, repeatMs) }
}

/** When an item that was told is told again; null for never. */
const nextMs = ({ told }: NoticeItem, repeatMs: number | null): number | null =>
  told === null || repeatMs === null ? null : told.atMs + repeatMs

/** What one round over the events of a scope, and over what is due there, changes and says. */
export const planNotices = (round: Round): ScopeChange => new Planner(round).plan()
