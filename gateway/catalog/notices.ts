// Notifications: targets, rules and mutes; what each target has been told and has to be told; and the outbox.
import type { Event, EventKind, Severity } from '../../protocol/events.ts'
import type { Message, Mute, Notice, NoticeState, Rule, TargetSettings } from '../../protocol/notify.ts'
import type { None, Question, Transaction } from './call.ts'

/** Items of one scope that one round looks at. */
export const ITEMS_ROUND_MAX = 20_000

/** How long messages that ended are kept, in milliseconds (30 days), and how many of a tenant at most. */
export const NOTICES_KEPT_MS = 30 * 24 * 3_600_000
export const NOTICES_KEPT_MAX = 1000

/** The longest wait of a message, in milliseconds: one that seems to wait longer is due, as the clock was set back. */
export const NOTICE_WAIT_MAX_MS = 6 * 3_600_000

/** A mute of the future by more than this, in milliseconds, holds nothing back: it is of before the clock was set back. */
export const MUTE_AHEAD_MAX_MS = 5 * 60_000

/** A target as it is stored; its secrets are encrypted. */
export interface TargetRow {
  readonly name: string
  readonly settings: TargetSettings
  readonly secret: Uint8Array | null
  readonly hourly: number
  /** Where it may be shown that its secrets go, and which there are. */
  readonly origin: string | null
  readonly set: readonly string[]
  /** Only events behind it are told to this target. */
  readonly sinceSeq: number
  /** Changes that were dropped for want of room and are told as a number. */
  readonly held: number
}

/** What a target was told, or has to be told, of one condition or event. */
export interface NoticeItem {
  readonly target: string
  /** Of the condition; `event` and a number for what happens once. */
  readonly key: string
  readonly kind: EventKind
  readonly severity: Severity
  readonly machine: string | null
  readonly group: string | null
  /** Null for what happens once. */
  readonly active: boolean | null
  /** When it began, or happened. */
  readonly sinceMs: number
  /** When it was as it is now. */
  readonly changedMs: number
  readonly text: string
  readonly data: Event['data']
  /** What was told last of it, and the worst that was told of it; null for nothing. */
  readonly told: {
    readonly severity: Severity
    readonly worst: Severity
    readonly text: string
    readonly atMs: number
  } | null
  /** Changes since then. */
  readonly changes: number
  /** What keeps it back: the hourly bound, or quiet hours or a mute; null for nothing. */
  readonly kept: 'hour' | 'later' | null
  /** When it is looked at again; null for when it changes. */
  readonly dueMs: number | null
}

/** All that decides about the messages of a tenant, or of the platform. */
export interface NoticeScope {
  /** Uuid; null for the platform. */
  readonly tenant: string | null
  readonly tenantName: string | null
  readonly targets: readonly TargetRow[]
  readonly rules: readonly Rule[]
  readonly mutes: readonly Mute[]
  /** Those that are due, and those of the keys asked for. */
  readonly items: readonly NoticeItem[]
  /** Items of each target. */
  readonly counts: Readonly<Record<string, number>>
  /** When messages of the hour before were made, by target, oldest first. */
  readonly lately: Readonly<Record<string, readonly number[]>>
}

/** A scope that has to be looked at, with the keys that its new events speak of. */
export interface ScopeAsked {
  readonly tenant: string | null
  readonly keys: readonly string[]
}

export interface NewNotice {
  readonly id: string
  readonly target: string
  readonly message: Message
}

/** What a round decided for one scope. */
export interface ScopeChange {
  readonly tenant: string | null
  readonly items: readonly NoticeItem[]
  readonly removed: readonly { readonly target: string; readonly key: string }[]
  readonly notices: readonly NewNotice[]
  /** What targets were dropped and not told, as it is now. */
  readonly held: Readonly<Record<string, number>>
}

/** A message that is due, with what it takes to send it. */
export interface DueNotice {
  readonly id: string
  readonly tenant: string | null
  readonly target: string
  readonly message: Message
  readonly attempts: number
  readonly madeMs: number
  readonly to: Pick<TargetRow, 'name' | 'settings' | 'secret'>
}

/** Uuid of the tenant; null for the platform. */
export interface OfScope {
  readonly tenant: string | null
}

export interface Notices {
  readonly targets: Question<OfScope, TargetRow[]>

  readonly target: Question<OfScope & { name: string }, TargetRow | null>

  /** Adds or replaces a target; `rule` is made with a new one unless its name is taken. LIMIT_REACHED. */
  readonly setTarget: Transaction<
    OfScope & { target: Omit<TargetRow, 'sinceSeq' | 'held'>; rule: Rule | null; nowMs: number },
    { added: boolean }
  >

  /** With its items; its messages that wait are dead. The names of rules that went with it; NOT_FOUND. */
  readonly removeTarget: Transaction<OfScope & { name: string; nowMs: number }, string[]>

  readonly rules: Question<OfScope, Rule[]>

  /** NOT_FOUND for a target that is not there, LIMIT_REACHED. */
  readonly setRule: Transaction<OfScope & { rule: Rule; nowMs: number }, { added: boolean }>

  readonly removeRule: Transaction<OfScope & { name: string; nowMs: number }, void>

  /** Those that have not ended. */
  readonly mutes: Question<OfScope & { nowMs: number }, Mute[]>

  readonly mute: Transaction<OfScope & { mute: Mute }, void>

  /** Ends a mute now; NOT_FOUND. */
  readonly unmute: Transaction<OfScope & { id: string; nowMs: number }, void>

  /** The place of the last event that was worked through. */
  readonly cursor: Question<None, number>

  /** The scopes asked for and those with items that are due. */
  readonly world: Question<{ scopes: readonly ScopeAsked[]; nowMs: number }, NoticeScope[]>

  /**
   * Moves the cursor and puts into the outbox what was decided, all or nothing. False, with nothing done, where the cursor is not
   * at `from` any more.
   */
  readonly commit: Transaction<{ from: number; to: number; changes: readonly ScopeChange[]; nowMs: number }, boolean>

  /** Everything that waits for a time is looked at again, as the clock was set back, or may have been. */
  readonly again: Transaction<{ nowMs: number }, void>

  /** When the next item or message is due; null where none is. */
  readonly nextDue: Question<None, number | null>

  /** Messages to be sent, the oldest of each target; `limit` targets. */
  readonly due: Question<{ nowMs: number; limit: number }, DueNotice[]>

  /** Takes a message for sending until `untilMs`; false where another one took it or it has ended. */
  readonly claim: Transaction<{ id: string; nowMs: number; untilMs: number }, boolean>

  /** How sending ended: sent, dead, or waiting until `nextMs`. */
  readonly settle: Transaction<
    { id: string; state: NoticeState; error: string | null; nextMs: number | null; nowMs: number },
    void
  >

  /** The newest first, behind one. */
  readonly outbox: Question<
    OfScope & { state: NoticeState | null; before: { madeMs: number; id: string } | null; limit: number },
    Notice[]
  >

  /** A message for a target beside the rules; NOT_FOUND. */
  readonly post: Transaction<OfScope & { notice: NewNotice; nowMs: number }, void>

  /** Sends one again from now on; NOT_FOUND, and PARAMS_INVALID for one that was sent. */
  readonly retry: Transaction<OfScope & { id: string; nowMs: number }, void>

  readonly drop: Transaction<OfScope & { id: string }, void>

  /** Removes what ended long ago, and what is too much. */
  readonly trim: Transaction<{ nowMs: number }, number>
}
