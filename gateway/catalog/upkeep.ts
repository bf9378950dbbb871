// What upkeep asks of the catalog and remembers in it: when each kind was done, what a collection may gain, daily samples.
import type { RunKind } from '../../protocol/runs.ts'
import type { None, Question, Transaction } from './call.ts'

/** Days for which samples are kept. */
export const SAMPLE_DAYS_MAX = 400

/** How one kind of upkeep of a tenant stands. */
export interface UpkeepNote {
  readonly kind: RunKind
  /** When it ended last, well or not. */
  readonly triedMs: number
  /** When it ended well; null where it never did. */
  readonly doneMs: number | null
  /** Failures since it ended well. */
  readonly failures: number
  /** What the kind remembers for its next time, as JSON. */
  readonly note: string
}

/** A tenant as the planner of upkeep sees it. */
export interface UpkeepTenant {
  readonly tenant: string
  readonly name: string
  readonly createdMs: number
  /** Restore points, and the place of the newest one in the order of creation; 0 without any. */
  readonly points: number
  readonly newestSeq: number
  /** Points that were removed, ever. */
  readonly removed: number
  /** Bytes of the pack files. */
  readonly packBytes: number
  /** Bytes that the points stored, and those that they still need of points that were removed: an estimate. */
  readonly keptBytes: number
  /** Backups that are running. */
  readonly backups: number
  /** The tighter quota, in bytes; null where there is none. */
  readonly quotaBytes: number | null
  readonly notes: readonly UpkeepNote[]
}

export interface UpkeepFacts {
  readonly tenants: readonly UpkeepTenant[]
  /** Upkeep of the gateway itself. */
  readonly platform: readonly UpkeepNote[]
}

/** What is to be verified of a machine. */
export interface VerifiableMachine {
  readonly machine: string
  readonly group: string | null
  readonly points: number
  /** When the point that was verified longest ago was, or was made where it never was. */
  readonly oldestMs: number
}

/** How long ago what a tenant has was last shown to be good. */
export interface LastProof {
  /** When the newest of all verifications was; null for never. */
  readonly verifiedMs: number | null
  /** When the point that was looked at longest ago was; null while one never was, or there is none. */
  readonly oldestMs: number | null
  /** Points that were never verified. */
  readonly unverified: number
  /** When a drill passed last, of the points that are there; null for never. */
  readonly drilledMs: number | null
}

/** Bytes in use on one day; days are counted from 1970, UTC. */
export interface Sample {
  readonly day: number
  readonly bytes: number
}

export interface Upkeep {
  readonly facts: Question<None, UpkeepFacts>

  /** How one kind stands; null while it was never tried. Null is the gateway itself. */
  readonly noted: Question<{ tenant: string | null; kind: RunKind }, UpkeepNote | null>

  /** Backups that are running, of all tenants. */
  readonly backups: Question<None, number>

  /** Notes how a kind of upkeep ended; `note` null leaves what it remembers as it is. Null is the gateway itself. */
  readonly note: Transaction<
    { tenant: string | null; kind: RunKind; nowMs: number; ok: boolean; note: string | null },
    void
  >

  /** Machines with points, the one whose oldest look is longest ago first; looks dated later than now count as none. */
  readonly verifiable: Question<{ tenant: string; nowMs: number }, VerifiableMachine[]>

  readonly proof: Question<{ tenant: string }, LastProof>

  /**
   * Notes for this day what each tenant's packs take and what of the disk is used; the last SAMPLE_DAYS_MAX days are kept.
   */
  readonly sample: Transaction<{ day: number; diskBytes: number }, void>

  /** The samples from a day on, the oldest first; null is the disk. */
  readonly samples: Question<{ tenant: string | null; fromDay: number }, Sample[]>
}
