// Retention: restore points as the rules of plans see them, and their removal.
import { PAGE_ROWS_MAX } from '../../protocol/limits.ts'
import type { KeepReason } from '../../protocol/retention.ts'
import type { Question } from './call.ts'

/** Most points of one removal, and most that a person may name: a removal is one transaction, and others wait for it. */
export const REMOVED_POINTS_MAX = PAGE_ROWS_MAX

/** A point as retention sees it. */
export interface RetentionPoint {
  readonly id: string
  readonly machine: string
  readonly timeMs: number
  /** Place of its backup in the order in which they started. */
  readonly seq: number
  readonly held: boolean
  readonly lockedUntilMs: number | null
  /** Some of its ranges are known to be unreadable. */
  readonly damaged: boolean
  /** Changes are recorded from its instant on, so a backup can continue it: not of a machine that was only read. */
  readonly checkpoint: boolean
  /** None of its disks has a byte: there is nothing to restore. */
  readonly empty: boolean
  /** The base of a backup that is running, or being restored. */
  readonly inUse: boolean
  /** Until when somebody reads it (`points.use`), which may have passed. */
  readonly usedUntilMs: number | null
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

export interface Retained {
  /** All points of one machine, the one created last first; NOT_FOUND. */
  readonly points: Question<{ tenant: string; machine: string }, RetentionPoint[]>

  readonly point: Question<{ tenant: string; id: string }, RetentionPoint>
}
