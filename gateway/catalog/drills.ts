// Drills: what came of starting copies of machines from restore points; kept with the point, and gone with it.
import type { Drill, DrillOutcome } from '../../protocol/drills.ts'
import type { Question, Transaction } from './call.ts'

/** Drills of one tenant that are kept: beyond that the oldest go. */
export const DRILLS_TENANT_MAX = 2000

/** Bytes of the pictures and logs of one tenant that are kept, 64 MiB: beyond that the oldest drills stay without theirs. */
export const DRILLS_TENANT_BYTES_MAX = 64 * 1024 * 1024

/** A drill that has ended. */
export interface NewDrill {
  readonly id: string
  readonly tenant: string
  readonly point: string
  readonly subject: string
  readonly outcome: DrillOutcome
  readonly log: string
  readonly picture: Uint8Array | null
  readonly nowMs: number
}

/** A drill and its place in the order of the tenant's. */
export type DrillRow = Drill & { readonly seq: number }

export interface DrillsAsked {
  readonly tenant: string
  /** Narrows to the machines that this agent serves now. */
  readonly agent: string | null
  readonly machine: string | null
  readonly point: string | null
  /** The place of the last one of the page before. */
  readonly before: number | null
  readonly limit: number
}

export interface Drills {
  /**
   * Keeps one in place of the oldest of its point, and says of its machine whether its last drill failed (`drill.failed`).
   * False for one that is there already; NOT_FOUND without its point, EXISTS for an id of another one.
   */
  readonly add: Transaction<NewDrill, boolean>

  /** Newest first. */
  readonly list: Question<DrillsAsked, DrillRow[]>

  /** One with its log and picture; NOT_FOUND. */
  readonly get: Question<
    { tenant: string; agent: string | null; id: string },
    { drill: Drill; log: string; picture: Uint8Array | null }
  >
}
