// Retention: the rules of tenants, groups and machines, and restore points as the rules see them.
import { PAGE_ROWS_MAX } from '../../protocol/limits.ts'
import type { KeepReason, Retention, RetentionScope } from '../../protocol/retention.ts'
import type { Policy, PolicyChange } from '../../protocol/schemas.ts'
import type { Question, Transaction } from './call.ts'

/** Most points of one removal, and most that a person may name: a removal is one transaction, and others wait for it. */
export const REMOVED_POINTS_MAX = PAGE_ROWS_MAX

export interface PolicyRow {
  readonly scope: RetentionScope
  /** Of the group or machine; empty for the tenant. */
  readonly name: string
  readonly rules: Retention
}

/** A point as retention sees it. */
export interface RetentionPoint {
  readonly id: string
  readonly machine: string
  readonly timeMs: number
  readonly seq: number
  readonly held: boolean
  readonly lockedUntilMs: number | null
  readonly damaged: boolean
  readonly checkpoint: boolean
  readonly empty: boolean
  readonly inUse: boolean
}

/** A point that a removal left where it is. */
export interface LeftPoint {
  readonly id: string
  readonly reason: KeepReason
}

export interface Removal {
  readonly tenant: string
  readonly points: readonly string[]
  /** A person named these points: then a machine's last good one and next base may go too, and a protected one is an error. */
  readonly named: boolean
  readonly nowMs: number
  /** Who asked for it, for an entry for each point. */
  readonly by: { readonly subject: string; readonly role: string }
}

export interface RulesChange {
  readonly tenant: string
  readonly scope: RetentionScope
  readonly name: string
  readonly rules: Retention | null
  /** False where a group is meant to be there already. */
  readonly newGroup?: boolean
}

export interface PoliciesAsked {
  readonly tenant: string
  /** The last policy of the page before; null for the first page. */
  readonly after: { readonly scope: RetentionScope; readonly name: string } | null
  readonly limit: number
}

export interface Configuration {
  readonly tenant: string
  readonly name: string
  readonly policy?: PolicyChange | undefined
  /** Null for no group; absent for what it was. */
  readonly group?: string | null | undefined
}

export interface Configured {
  readonly policy: Policy
  readonly group: string | null
  /** The group that the machine has joined had no machine and no rules. */
  readonly newGroup: boolean
}

export interface Policies {
  /**
   * Sets the rules of a tenant, a group or a machine, or with null removes them; NOT_FOUND for a machine, or an old group,
   * that is not there, PARAMS_INVALID for GROUP_NONE, LIMIT_REACHED past POLICIES_MAX.
   */
  readonly set: Transaction<RulesChange, void>

  /** By scope (the tenant's own first) and name, behind one policy. */
  readonly list: Question<PoliciesAsked, PolicyRow[]>

  /** The policy of one scope, or null; NOT_FOUND for a machine or group that is not there. */
  readonly get: Question<{ tenant: string; scope: RetentionScope; name: string }, PolicyRow | null>

  /** Rules of the nearest policy: the machine's own, else its group's, else the tenant's, else null. */
  readonly of: Question<{ tenant: string; machine: string }, Retention | null>

  /** All points of one machine, the one created last first; NOT_FOUND. */
  readonly points: Question<{ tenant: string; machine: string }, RetentionPoint[]>

  readonly point: Question<{ tenant: string; id: string }, RetentionPoint>
}
