// What a lease is: the right to read one machine at one instant, from whichever driver.

import type { Consistency, ConsistencyWish, ReadKind, ReadReason } from '../../protocol/backup.ts'
import type { VarveError } from '../../protocol/errors.ts'
import type { Reread } from '../../protocol/methods.ts'
import type { JsonValue } from '../qmp/configuration.ts'
import type { JournalEntry } from './journal.ts'

/** The machine a lease is asked for, as the agent's configuration names it. */
export interface LeaseMachine {
  readonly name: string
  readonly qmp: string
  readonly guestAgent: string | null
  readonly exclude: readonly string[]
}

/** The checkpoint that a driver is to continue from, with the disks its restore point holds; sizes in bytes. */
export interface LeaseBase {
  readonly checkpoint: string
  readonly disks: readonly {
    readonly name: string
    readonly size: number
    /** What the gateway lost of it, to be read though it did not change; null asks for a full read. */
    readonly reread: Reread
  }[]
}

export interface LeaseRequest {
  readonly machine: LeaseMachine
  /** A uuid: id of the job, the lease, the checkpoint and the restore point at once. */
  readonly leaseId: string
  readonly agentId: string
  /** The machine's newest committed checkpoint, also when `full` is asked: its bitmaps are kept until the commit. */
  readonly base: LeaseBase | null
  readonly full: boolean
  readonly consistency: ConsistencyWish
  readonly freezeTimeoutMs: number
  /** Reasons for which a full read is refused (FULL_REFUSED). */
  readonly refuseFull: readonly ReadReason[]
}

/** One disk of a lease, readable over NBD until the lease ends; `size` is bytes. */
export interface LeasedDisk {
  readonly name: string
  readonly size: number
  readonly kind: ReadKind
  readonly reason: ReadReason
  readonly socketPath: string
  readonly exportName: string
  /** NBD meta context of the changed blocks; null for a full read. */
  readonly dirtyContext: string | null
  /** Ranges that count as changed whatever the bitmap says: offset and length in bytes, ascending. */
  readonly reread: readonly (readonly [number, number])[]
}

export type LeaseOutcome = 'committed' | 'failed'

export interface Lease {
  readonly id: string
  readonly disks: readonly LeasedDisk[]
  readonly consistency: Consistency
  /** Why the consistency is less than was wished; null when it is not. */
  readonly consistencyNote: string | null
  /** The instant, never later than the real one, in milliseconds since 1970. */
  readonly timeMs: number
  readonly configuration: JsonValue
  /** Resolves once if the lease breaks; what was read since the last `check` is then worth nothing. */
  readonly lost: Promise<VarveError>
  /**
   * Rejects with LEASE_LOST or SCRATCH_LOW unless the lease holds. An export whose job has ended still answers, with
   * newer bytes, so this must pass after the last read and before anything read is committed.
   */
  check(): Promise<void>
  /**
   * Ends the lease: `committed` only after the gateway's durable acknowledgement, it removes the base's bitmaps.
   * When QEMU cannot be reached this rejects with QMP_UNAVAILABLE and the journal keeps the entry, with the outcome.
   */
  end(outcome: LeaseOutcome): Promise<void>
}

export interface LeaseDriver {
  begin(request: LeaseRequest): Promise<Lease>
  /** After a restart of the agent: the same lease when all of it is still there, else null (settle it as failed). */
  adopt(entry: JournalEntry): Promise<Lease | null>
  /**
   * Removes exactly what the entry's lease left behind, then the entry. QMP_UNAVAILABLE when QEMU cannot be reached
   * and bitmaps may remain on disk: the entry stays, to be settled later.
   */
  settle(entry: JournalEntry, outcome: LeaseOutcome): Promise<void>
}
