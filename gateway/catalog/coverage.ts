// What the catalog knows of whether machines are protected: the facts of each, from which its state follows.
import type { Consistency, ReadKind, ReadReason } from '../../protocol/backup.ts'
import type { Exclusion, Plan } from '../../protocol/plans.ts'
import type { Question } from './call.ts'
import type { DayAsked, MachineDays } from './days.ts'
import type { JobFailure } from './jobs.ts'

/** Most machines that one call answers. */
export const COVERAGE_PAGE_MAX = 1000

/** Most machines that are looked at again for themselves; behind more of them all are. */
export const CHANGED_MAX = 500

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

/** The newest point of a machine. */
export interface LastPoint {
  readonly id: string
  readonly timeMs: number
  readonly kind: ReadKind
  readonly reason: ReadReason
  readonly consistency: Consistency
  readonly bytesRead: number
  readonly bytesSent: number
  readonly durationMs: number
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
  readonly lastPoint: LastPoint | null
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
  /** Only these, at most COVERAGE_PAGE_MAX; absent for all. */
  readonly machines?: readonly string[] | null
  /** Only those with this in their names, whatever its case; absent for all. */
  readonly contains?: string | null
  /** `null` for all machines. */
  readonly group: string | null
  /** The last name of the page before; null for the first page. */
  readonly after: string | null
  readonly limit: number
}

/** What tells whether states that were computed before still hold, but for the time that has passed. */
export interface CoverageMark {
  /** Plans, exclusions and which machines there are: where it is another text, any machine may be in another state. */
  readonly whole: string
  /** Number of the tenant's last event: events name the machines of which something was told since. */
  readonly event: number
}

export interface Coverage {
  /** Machines of a tenant by name; at most COVERAGE_PAGE_MAX. */
  readonly facts: Question<CoverageAsked, CoverageRow[]>

  readonly mark: Question<{ tenant: string }, CoverageMark>

  /** Machines of which something was told behind an event; null where those are more than CHANGED_MAX, or not kept any more. */
  readonly changed: Question<{ tenant: string; event: number }, string[] | null>

  /** What was on each day of machines, in the order asked; of fewer of them where that is more than DAY_FACTS_MAX to read. */
  readonly days: Question<DayAsked, MachineDays[]>
}
