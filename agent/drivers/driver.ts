// What a lease is: the right to read one machine at one instant, from whichever driver.

import type {
  Consistency,
  ConsistencyWish,
  LeftOutDisk,
  LeftOutReason,
  ReadKind,
  ReadReason,
} from '../../protocol/backup.ts'
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

/** A disk as a restore point holds it; `size` is bytes. */
export interface BaseDisk {
  readonly name: string
  readonly size: number
  /** What the gateway lost of it, to be read though it did not change; null asks for a full read. */
  readonly reread: Reread
  /** What lay under the disk at the checkpoint; null where that is not known. */
  readonly evidence: string | null
}

/** The checkpoint that a driver is to continue from, with the disks of its restore point, by whose order its bitmaps are numbered. */
export interface LeaseBase {
  readonly checkpoint: string
  readonly disks: readonly BaseDisk[]
}

export interface LeaseRequest {
  readonly machine: LeaseMachine
  /** A uuid: id of the job, the lease, the checkpoint and the restore point at once. */
  readonly leaseId: string
  readonly agentId: string
  /** Agents that this host was before: their checkpoints are its own. */
  readonly formerAgents: readonly string[]
  /** The machine's newest committed checkpoint, also when `full` is asked: its bitmaps are kept until the commit. */
  readonly base: LeaseBase | null
  readonly full: boolean
  /** All that is said to be unchanged is to be compared with the base. */
  readonly compare: boolean
  readonly consistency: ConsistencyWish
  readonly freezeTimeoutMs: number
  /** Reasons for which a full read is refused (FULL_REFUSED). */
  readonly refuseFull: readonly ReadReason[]
  /** Reasons for which leaving a disk out is refused (DISK_LEFT_OUT). */
  readonly refuseLeftOut: readonly LeftOutReason[]
}

/** One disk of a lease, readable over NBD until the lease ends; `size` is bytes. */
export interface LeasedDisk {
  readonly name: string
  readonly size: number
  readonly kind: ReadKind
  readonly reason: ReadReason
  /** Name in the base of the image that an incremental read continues; null for a full read. */
  readonly base: string | null
  readonly evidence: string
  /** Chunks said to be unchanged that were compared with the base. */
  readonly comparedChunks: number
  /** From here on nothing but a comparison shows whether the disk was smaller for a while; bytes. */
  readonly compareFrom: number
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
  /** All that is said to be unchanged is to be compared with the base. */
  readonly compareAll: boolean
  /** What of the machine it does not hold. */
  readonly leftOut: readonly LeftOutDisk[]
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
   * Takes what a comparison of unchanged chunks showed of each disk. One whose bitmap had missed a change is read in full from
   * now on (`changes-missed`), also after a restart of the agent; FULL_REFUSED where the policy refuses that.
   */
  compared(outcomes: ReadonlyMap<string, { readonly chunks: number; readonly missed: boolean }>): Promise<void>
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
