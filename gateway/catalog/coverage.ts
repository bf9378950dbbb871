// What the catalog knows of whether machines are protected: the facts of each, from which its state follows.
import type { Exclusion, Plan } from '../../protocol/plans.ts'
import type { Question } from './call.ts'
import type { JobFailure } from './jobs.ts'

/** Most machines that one call answers. */
export const COVERAGE_PAGE_MAX = 1000

/** What of a plan the state of its machines depends on. */
export type PlanTiming = Pick<
  Plan,
  'name' | 'enabled' | 'schedule' | 'rpoMs' | 'timeZone' | 'window' | 'jitterMs' | 'verifyDays'
>

/** A failure since the newest point. */
export interface Failure {
  readonly error: JobFailure
  /** When the first backup since the newest point failed. */
  readonly sinceMs: number
  /** Its run is not over: it may be tried again. */
  readonly open: boolean
  /** When it is tried again; null where that is not known. */
  readonly retryMs: number | null
}

export interface CoverageRow {
  readonly name: string
  readonly group: string | null
  readonly agent: string
  readonly host: string
  readonly revokedMs: number | null
  /** When its agent was heard of last, at the latest when it was enrolled. */
  readonly seenMs: number
  /** Since when its agent serves without announcing it; null for one that it announces. */
  readonly goneMs: number | null
  readonly createdMs: number
  /** Since when its present plan is to protect it; null where no scheduler has seen that yet. */
  readonly plannedSinceMs: number | null
  readonly exclusion: Exclusion | null
  readonly plan: PlanTiming | null
  readonly lastPoint: { readonly id: string; readonly timeMs: number } | null
  /** Of the oldest point that is there. */
  readonly firstPointMs: number | null
  readonly lastVerifiedMs: number | null
  readonly failure: Failure | null
  /** When the next backup is to start that is planned already; null where none is. */
  readonly dueMs: number | null
}

export interface CoverageAsked {
  readonly tenant: string
  readonly machine: string | null
  /** `null` for all machines. */
  readonly group: string | null
  /** The last name of the page before; null for the first page. */
  readonly after: string | null
  readonly limit: number
}

export interface Coverage {
  /** Machines of a tenant by name; at most COVERAGE_PAGE_MAX. */
  readonly facts: Question<CoverageAsked, CoverageRow[]>
}
