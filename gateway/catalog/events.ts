// Events in one order, and conditions that hold until they are good again: each change of one and its event are one transaction.
import type { ConditionKind, Event, EventKind, HappeningKind, Severity } from '../../protocol/events.ts'
import type { None, Question, Transaction } from './call.ts'

/** Events of one tenant (and of the platform) that are kept: the oldest ones go. */
export const EVENTS_MAX = 20_000

/** How long they are kept, in milliseconds: 90 days. */
export const EVENTS_KEPT_MS = 90 * 24 * 3_600_000

/** Most events or changes that one call appends or answers. */
export const EVENTS_PAGE_MAX = 1000

interface Said {
  /** Uuid of the tenant; null for the platform. */
  readonly tenant: string | null
  readonly machine: string | null
  readonly text: string
  readonly data: Event['data']
}

/** What happens once. */
export interface NewEvent extends Said {
  readonly timeMs: number
  readonly kind: HappeningKind
  readonly severity: Severity
}

/** An event as it is stored: besides its number among its tenant's events it has its place among all. */
export interface EventRow extends Omit<Event, 'seq' | 'tenant'> {
  /** Its place among the events of all tenants; never to be shown to one. */
  readonly seq: number
  /** Its place among the tenant's events: 1, 2, 3, ... */
  readonly number: number
  /** Uuid of the tenant; null for the platform. */
  readonly tenant: string | null
  readonly tenantName: string | null
}

/** A condition that begins, or has another value than before. */
export interface ConditionSet extends Said {
  readonly holds: true
  readonly kind: ConditionKind
  /** What tells it from the tenant's other conditions, such as `machine.state db1`. */
  readonly key: string
  readonly severity: Severity
  /** It is told again only where this is another one than before. */
  readonly value: string
}

/** A condition that is good again; one that does not hold is left alone. */
export interface ConditionClear extends Said {
  readonly holds: false
  readonly kind: ConditionKind
  readonly key: string
}

export type ConditionChange = ConditionSet | ConditionClear

/** A condition that holds. */
export interface ConditionRow extends Omit<ConditionSet, 'holds'> {
  readonly tenantName: string | null
  readonly group: string | null
  /** Since when it has this value. */
  readonly sinceMs: number
}

/** Narrows to some kinds, and to one machine. */
export interface EventsAsked {
  readonly tenant: string | null
  readonly kinds: readonly EventKind[] | null
  readonly machine: string | null
  readonly limit: number
}

/** Where a tenant's events are: the newest number, and the first one that is still kept (one behind it where there is none). */
export interface EventBounds {
  readonly last: number
  readonly first: number
}

export interface EventLog {
  /** Appends events in their order, all or none; those of a tenant that is not there are left out. At most EVENTS_PAGE_MAX. */
  readonly append: Transaction<{ events: readonly NewEvent[] }, void>

  /** Events of all tenants after a place in the order of all, oldest first; for what works through them behind a cursor. */
  readonly after: Question<{ seq: number; limit: number }, EventRow[]>

  /** The place of the last event of all; 0 before there is one. */
  readonly last: Question<None, number>

  readonly bounds: Question<{ tenant: string | null }, EventBounds>

  /**
   * A tenant's events behind a number, oldest first, and the number up to which they were looked at: the last one given where
   * others may follow.
   */
  readonly follow: Question<EventsAsked & { after: number }, EventBounds & { events: EventRow[]; upTo: number }>

  /** A tenant's events before a number (null: the newest), newest first. */
  readonly list: Question<EventsAsked & { before: number | null }, EventRow[]>
}

export interface Conditions {
  /**
   * Changes conditions in their order, and adds an event for each that is another one than before; all or none. Says of each
   * whether it changed; at most EVENTS_PAGE_MAX. One of a tenant that is not there is left out.
   */
  readonly apply: Transaction<{ changes: readonly ConditionChange[]; nowMs: number }, boolean[]>

  /** Those of a tenant (or, for null, of the platform) that hold; of one kind, or of all for null. */
  readonly of: Question<{ tenant: string | null; kind: ConditionKind | null }, ConditionRow[]>

  /** Those of all tenants and the platform that hold. */
  readonly all: Question<{ kind: ConditionKind | null }, ConditionRow[]>
}
