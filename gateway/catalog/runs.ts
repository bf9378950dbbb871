// Runs: the slots of plans and of upkeep, what became of each, and what a round of the scheduler looks at.
import type { JobState } from '../../protocol/backup.ts'
import type { Plan } from '../../protocol/plans.ts'
import type { Run, RunKind, RunState, SkipReason } from '../../protocol/runs.ts'
import type { None, Question, Transaction } from './call.ts'
import type { JobFailure } from './jobs.ts'

/** Runs of one kind and machine (or tenant, for upkeep) that are kept, the newest ones. */
export const RUNS_KEPT_MAX = 1000

/** A run as it is planned: due, or skipped with the reason. */
export interface NewRun {
  readonly id: string
  /** Uuid; null for what is the gateway's own. */
  readonly tenant: string | null
  readonly kind: RunKind
  readonly machine: string | null
  readonly plan: string | null
  readonly dueMs: number
  readonly skipped?: SkipReason | null
  readonly summary?: string
}

/** By which plan a machine's slots are planned. */
export interface Pace {
  readonly plan: string
  /** What of the plan its slots depend on, as text; empty where it starts nothing. */
  readonly timing: string
  /** Since when that plan is to protect it. */
  readonly sinceMs: number
  /** Until when its slots are planned. */
  readonly plannedMs: number
}

export interface MachinePace extends Pace {
  readonly tenant: string
  readonly machine: string
}

/** A machine as a round of the scheduler sees it. */
export interface PlannedMachine {
  /** Uuid. */
  readonly tenant: string
  readonly name: string
  readonly group: string | null
  readonly agent: string
  /** Its agent was revoked. */
  readonly revoked: boolean
  readonly createdMs: number
  readonly pointMs: number | null
  /** The backup that is under way, and the agent that makes it. */
  readonly job: string | null
  readonly jobAgent: string | null
  /** Until when it is left out of all plans: null for not at all, Infinity for without an end. */
  readonly excludedUntilMs: number | null
  readonly pace: Pace | null
  /** The newest run that a plan of it had: when it was due, and when it ended. */
  readonly lastDueMs: number | null
  readonly lastEndedMs: number | null
}

export interface PlannedTenant {
  /** Uuid. */
  readonly id: string
  readonly name: string
  readonly plans: readonly Plan[]
}

/** A run that is not over, or its row as it is shown. */
export interface RunRow extends Run {
  /** Uuid; null for what is the gateway's own. */
  readonly tenant: string | null
  /** The gateway that works on it, and until when that is believed. */
  readonly owner: string | null
  readonly leaseMs: number | null
  /** Of its job. */
  readonly jobState: JobState | null
  readonly jobError: JobFailure | null
}

/** What a run is when it is changed; else it is not changed. */
export type RunFrom =
  | { readonly state: 'due'; readonly attempts: number }
  | { readonly state: 'running'; readonly owner: string }
  | { readonly state: 'running'; readonly job: string }

export interface RunEnd {
  readonly id: string
  readonly from: RunFrom
  /** Due again, or over. */
  readonly state: Exclude<RunState, 'running'>
  readonly skipped?: SkipReason | null
  readonly error?: JobFailure | null
  readonly summary?: string
  /** When it is tried again. */
  readonly nextMs?: number | null
  /** Starts so far; as before where it is absent. */
  readonly attempts?: number
  readonly nowMs: number
}

export interface RunsAsked {
  /** Null for the gateway's own. */
  readonly tenant: string | null
  readonly machine: string | null
  readonly kind: RunKind | null
  readonly state: RunState | null
  /** The last row of the page before; null for the first page. */
  readonly after: { readonly dueMs: number; readonly id: string } | null
  readonly limit: number
}

/** Which gateway works on a run, and until when that is believed without its saying so again. */
export interface Claim {
  readonly id: string
  readonly owner: string
  readonly nowMs: number
  readonly leaseMs: number
}

export interface Runs {
  /**
   * Adds runs, and notes the paces of machines; a slot that is there stays as it is, and of very many the oldest go. Runs of
   * machines and tenants that are not there are left out. Returns the ids of those that were added.
   */
  readonly plan: Transaction<{ runs: readonly NewRun[]; paces?: readonly MachinePace[] }, string[]>

  /** Adds a run that a person starts and `owner` works on, at once. NOT_FOUND. */
  readonly begin: Transaction<
    Claim & { tenant: string | null; kind: RunKind; machine: string | null; subject: string },
    void
  >

  /** Those that are due or running, the oldest first. */
  readonly open: Question<None, RunRow[]>

  /** All at one instant: the machines, what plans are there for them, and the runs that are not over. */
  readonly world: Question<None, { tenants: PlannedTenant[]; machines: PlannedMachine[]; runs: RunRow[] }>

  /** The same of one machine; null where it is not there. */
  readonly machine: Question<{ tenant: string; name: string }, PlannedMachine | null>

  /** How long the last backups of machines took, in milliseconds, at most `limit` of each; none for a machine without any. */
  readonly durations: Question<{ tenant: string; machines: readonly string[]; limit: number }, Record<string, number[]>>

  /**
   * Makes `owner` the one who works on a run of upkeep, if it is due, or was claimed by one whose lease has run out; counts
   * the start. A lease that reaches further than anybody takes one, as the clock was set back since, has run out too.
   */
  readonly claim: Transaction<Claim, boolean>

  /** Prolongs that; false where another one has taken the run. */
  readonly renew: Transaction<Claim, boolean>

  /** Ends a run, or makes it due again; false, without a change, where it is not as it was thought to be. */
  readonly end: Transaction<RunEnd, boolean>

  /** By when they were due: of the state `due` the one that was due first comes first, all others newest first. */
  readonly list: Question<RunsAsked, RunRow[]>

  /** Removes at most `limit` that ended before `beforeMs`; how many that were. */
  readonly trim: Transaction<{ beforeMs: number; limit: number }, number>
}
