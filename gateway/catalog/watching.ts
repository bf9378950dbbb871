// What the watcher asks of the catalog: one answer for all tenants, or all machines of one, so that a look costs few calls.
import type { None, Question } from './call.ts'

/** Most tokens that one look speaks of. */
export const TOKENS_SEEN_MAX = 10_000

/** An agent that is enrolled, not revoked, and serves machines. */
export interface ServingAgent {
  /** Uuid of its tenant. */
  readonly tenant: string
  readonly id: string
  readonly host: string
  readonly machines: number
  /** When it was heard of last; null for never. */
  readonly seenMs: number | null
}

/** A token of a person that is not revoked. */
export interface EndingToken {
  /** Uuid; null for a token of no tenant. */
  readonly tenant: string | null
  readonly tenantName: string | null
  readonly id: string
  readonly subject: string
  readonly role: string
  readonly createdMs: number
  readonly expiresMs: number
  /**
   * When the last token of the same tenant, subject and role that is not revoked ends, this one included: who has a later one
   * has been renewed.
   */
  readonly lastMs: number
}

export interface DamagedMachine {
  readonly tenant: string
  readonly tenantName: string
  readonly machine: string
  /** Restore points with lost ranges. */
  readonly points: number
  readonly lostBytes: number
}

export interface DamagedTenant {
  readonly tenant: string
  readonly tenantName: string
  readonly records: number
  /** When the first of them was found. */
  readonly foundMs: number
}

/** A machine with restore points. */
export interface MachineProofs {
  readonly machine: string
  readonly group: string | null
  /** When the point was verified, or made where it never was, for which that is longest ago. */
  readonly oldestMs: number
  /** When the last lock of its points ends; null where none was ever locked. */
  readonly lockedUntilMs: number | null
}

export interface Watching {
  /** Agents that are not revoked and serve machines. */
  readonly agents: Question<None, ServingAgent[]>

  /** Tokens of people that are not revoked and end within a time, by tenant and id, TOKENS_SEEN_MAX at most. */
  readonly tokens: Question<{ fromMs: number; untilMs: number }, EndingToken[]>

  readonly damage: Question<None, { machines: DamagedMachine[]; tenants: DamagedTenant[] }>

  /** Machines of a tenant that have points; a verification dated later than now counts as none. */
  readonly proofs: Question<{ tenant: string; nowMs: number }, MachineProofs[]>

  /** The time of the last thing that was recorded, in the order in which it was; null where nothing was. */
  readonly recordedMs: Question<None, number | null>
}
