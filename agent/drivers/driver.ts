// The interface of a driver and of a lease: the right to read one machine at one instant.

import type * as v from 'valibot'
import type {
  Consistency,
  ConsistencyWish,
  LeftOutDisk,
  LeftOutReason,
  ReadKind,
  ReadReason,
} from '../../protocol/backup.ts'
import type { VarveError } from '../../protocol/errors.ts'
import type { CheckpointList, Forgotten, MachineStatus, Reread } from '../../protocol/methods.ts'
import type { ScratchUse } from '../../protocol/schemas.ts'
import type { AttachmentSource } from '../attachments/source.ts'
import type { Thawer } from '../guest/thawer.ts'
import type { Hooks } from '../hooks/settings.ts'
import type { JsonValue } from '../json-value.ts'
import type { DiskExtent } from '../nbd/extents.ts'
import type { SpoolPlace } from '../push/spool.ts'
import type { Offers } from './external/offers.ts'
import type { JournalEntry, LeaseJournal, PayloadFormat } from './journal.ts'

/** A machine as its driver finds it. */
export interface Machine {
  readonly name: string
  /** Name of its driver. */
  readonly driver: string
  /** Its address, which no two machines share. */
  readonly address: string
  /** The driver's keys of its `[[machine]]`, as the driver's schema took them. */
  readonly keys: Readonly<Record<string, unknown>>
}

/** A machine of the configuration. */
export interface MachineConfig extends Machine {
  /** Names of disks that are left out. */
  readonly exclude: readonly string[]
  /** Files and folders of the host that go with every restore point of the machine; absolute paths. */
  readonly attach: readonly string[]
  /** Mount points of the guest's file systems that a freeze takes; absent for all. */
  readonly freezeOnly?: readonly string[] | undefined
  /** Commands of this host around the instant of its leases. */
  readonly hooks?: Hooks | undefined
}

/** What a machine is besides its name. */
export interface MachineIdentity {
  /** The hypervisor's uuid of it, in lower case; null where it has none. */
  readonly uuid: string | null
  /**
   * It runs here, or is paused here. One that is off, was migrated away or has not arrived yet does not, also where its disks are
   * here: several hosts of a site may have them.
   */
  readonly here: boolean
}

/** A disk as a restore point holds it; `size` is bytes. */
export interface BaseDisk {
  readonly name: string
  readonly size: number
  /** Ranges that the gateway lost, to be read though unchanged; null asks for a full read. */
  readonly reread: Reread
  /** A comparison found that its bitmap of this point has missed changes: it is not trusted again. Absent for false. */
  readonly missed?: boolean
  /** What was below the disk at the checkpoint; null where that is not known. */
  readonly evidence: string | null
}

/** The restore point to continue from: its checkpoint, and its disks, whose order numbers the checkpoint's bitmaps. */
export interface LeaseBase {
  /** Null where it was made without one: then every disk is read in full. */
  readonly checkpoint: string | null
  /** The agent that made it, whose names its bitmaps have. */
  readonly agent: string
  readonly disks: readonly BaseDisk[]
}

export interface LeaseRequest {
  readonly machine: MachineConfig
  /** A uuid: id of the job, the lease, the checkpoint and the restore point at once. */
  readonly leaseId: string
  readonly agentId: string
  /** Agents that this host was before: their checkpoints are its own. */
  readonly formerAgents: readonly string[]
  /**
   * The machine's newest committed point with a checkpoint, of whatever agent, or without one where there is no other. Also when
   * `full` is asked: its bitmaps are kept until the commit of a lease with a checkpoint.
   */
  readonly base: LeaseBase | null
  readonly full: boolean
  /** Everything recorded as unchanged is compared with the base. */
  readonly compare: boolean
  /** Of the chunks of the restore point, in bytes. */
  readonly chunkBytes: number
  readonly consistency: ConsistencyWish
  readonly freezeTimeoutMs: number
  /** Told once, for how long the guest was frozen, in milliseconds. */
  readonly onThawed?: (frozenMs: number) => void
  /** Reasons for which a full read is refused (FULL_REFUSED). */
  readonly refuseFull: readonly ReadReason[]
  /** Reasons for which leaving a disk out is refused (DISK_LEFT_OUT). */
  readonly refuseLeftOut: readonly LeftOutReason[]
}

/** What QEMU writes of a disk while the lease holds. */
export interface PushedContent {
  /** Where its bytes are once the map tells of them. */
  readonly spool: SpoolPlace
  /** The map from the beginning, which waits for QEMU, and ends when its job has ended well. LEASE_LOST. */
  extents(chunkBytes: number, signal: AbortSignal): AsyncIterable<DiskExtent>
  /** Bytes below this offset are durable at the gateway, and not read again. */
  durable(bytes: number): void
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
  /** Chunks recorded as unchanged that were compared with the base. */
  readonly comparedChunks: number
  readonly socketPath: string
  readonly exportName: string
  /** NBD meta context of the changed blocks; null for a full read. */
  readonly dirtyContext: string | null
  /** Ranges that count as changed whatever the bitmap says: offset and length in bytes, ascending. */
  readonly reread: readonly (readonly [number, number])[]
  /** Of a disk that QEMU writes rather than has read: it can be read nowhere else. */
  readonly pushed?: PushedContent
  /** The export answers only within the changed blocks: nothing is asked about the gaps between them. Absent for false. */
  readonly clips?: boolean
  /**
   * Only what lies within one block of so many bytes is asked at once, and no map: QEMU before 9.0 answers wrongly through
   * snapshot-access otherwise. Absent for no such limit.
   */
  readonly boundaryBytes?: number
  /** What is durable at the gateway is discarded in the export, which frees scratch space. Absent for false. */
  readonly discards?: boolean
  /** What is recorded as unchanged was compared, is not to be read again, and may be discarded too. Absent for false. */
  readonly compared?: boolean
  /** In whole pieces of so many bytes, where that is not the unit in which QEMU copies by default. */
  readonly discardBytes?: number
}

export type LeaseOutcome = 'committed' | 'failed'

export interface Lease {
  readonly id: string
  /** False where it records no changes from its instant on: the next increment continues the same base, whose bitmaps stay. */
  readonly checkpoint: boolean
  readonly disks: readonly LeasedDisk[]
  /** Everything recorded as unchanged is compared with the base. */
  readonly compareAll: boolean
  /** Disks of the machine that it does not hold. */
  readonly leftOut: readonly LeftOutDisk[]
  readonly consistency: Consistency
  /** Why the consistency is less than requested; null when it is not. */
  readonly consistencyNote: string | null
  /** The instant, never later than the real one, in milliseconds since 1970. */
  readonly timeMs: number
  /** How long before the agent was asked for it the instant was taken, in milliseconds; absent where the agent took it. */
  readonly leadMs?: number
  readonly configuration: JsonValue
  /** Most bytes a second that are read of its disks; null or absent for no limit of its own. */
  readonly bandwidth?: number | null
  /** Resolves once if the lease breaks; what was read since the last `check` is then invalid. */
  readonly lost: Promise<VarveError>
  /**
   * Rejects with LEASE_LOST, SCRATCH_LOW or MACHINE_MOVING unless the lease holds. An export whose job has ended still
   * answers, with newer bytes, so this must pass after the last read and before anything read is committed.
   */
  check(): Promise<void>
  /** The most that its scratch images have taken; null where that cannot be seen in time. Never rejects. */
  scratch(): Promise<ScratchUse | null>
  /**
   * Takes the result of comparing unchanged chunks of each disk. One whose bitmap had missed a change is read in full from
   * now on (`changes-missed`), also after a restart of the agent; FULL_REFUSED where the policy refuses that. Later leases are
   * told so by the gateway, with the base. Afterwards unchanged chunks are not read any more.
   */
  compared(outcomes: ReadonlyMap<string, { readonly chunks: number; readonly missed: boolean }>): Promise<void>
  /** Why a read failed, where the lease knows more of it than the reader; else null. Never rejects. */
  whyUnreadable?(): Promise<VarveError | null>
  /**
   * Ends the lease: `committed` only after the gateway's durable acknowledgement, it removes the base's bitmaps.
   * Where that cannot be done now it rejects, and the journal keeps the entry with the outcome, to be settled later.
   */
  end(outcome: LeaseOutcome): Promise<void>
}

/** The state of a machine; `problem` says why the rest is not known. */
export type MachineLook = Omit<MachineStatus, 'name' | 'lease' | 'target'>

/** Something that happened in a machine, by its own clock. */
export interface MonitorEvent {
  readonly event: string
  readonly data: Readonly<Record<string, unknown>>
  readonly timeMs: number
}

/** A machine's own monitor, to which the gateway may have commands relayed. */
export interface MachineMonitor {
  execute(machine: Machine, command: string, args: Readonly<Record<string, unknown>>): Promise<unknown>
  /** Calls `listener` for every event from now on; returns a function that unsubscribes. */
  subscribe(machine: Machine, listener: (event: MonitorEvent) => void): () => void
}

/** Access to the machines of one kind; one for each agent process. */
export interface LeaseDriver extends AsyncDisposable {
  /** Null where machines of this kind have none. */
  readonly monitor: MachineMonitor | null
  /** LEASE_HELD while an earlier lease of the machine is not settled, or is unknown to the journal. */
  begin(request: LeaseRequest): Promise<Lease>
  /**
   * The machine as the driver `offline` reads it, where `begin` failed with this error because it is off; null where it may
   * run, or where its disks are not known.
   */
  whenOff(machine: MachineConfig, error: VarveError): Promise<MachineConfig | null>
  /** The machine's uuid, and whether it is on this host; never rejects: what cannot be asked is not here. */
  identify(machine: MachineConfig): Promise<MachineIdentity>
  /** What goes with a restore point besides the disks and what the configuration attaches; never rejects. */
  attachments(machine: MachineConfig): Promise<readonly AttachmentSource[]>
  /** After a restart of the agent: the same lease if all of it is still there, else null or MACHINE_MOVING (settle as failed). */
  adopt(entry: JournalEntry): Promise<Lease | null>
  /**
   * Removes exactly what the entry's lease left behind, then the entry. Rejects while what remains cannot be reached: the
   * entry stays, with its outcome, to be settled later.
   */
  settle(entry: JournalEntry, outcome: LeaseOutcome): Promise<void>
  /** Removes what the entry's lease has on this host outside of the state folder, even if the machine is unreachable. */
  removeFiles(entry: JournalEntry): Promise<void>
  /** Whether what failed with this error may succeed a moment later. */
  isPassing(error: VarveError): boolean
  /** From now on, removes what any lease unknown to the journal left in the machine. */
  attach(machine: Machine): void
  /** The machine was removed from the configuration; a lease of it may continue. */
  detach(machine: Machine): void
  /** Watches over the leases of the journal until they are adopted or settled. */
  watchLeft(): Promise<void>
  look(machine: MachineConfig): Promise<MachineLook>
  /**
   * The checkpoints that the machine has, Varve's and others', also while a backup runs. Changes no bitmap. QMP_UNAVAILABLE,
   * LIBVIRT_UNAVAILABLE, DISK_IN_USE or MACHINE_OFF where nothing of it can be looked at.
   */
  checkpoints(machine: MachineConfig): Promise<CheckpointList>
  /**
   * Removes everything of Varve's from a machine, leases that an earlier run left included, or just the checkpoints of one
   * disk. LEASE_HELD while a backup runs or where the journal has an unknown entry of the machine, NOT_FOUND.
   */
  forget(machine: Machine, disk: string | null): Promise<Forgotten>
}

/** A driver's log; pino fits. */
export interface LeaseLog {
  info(details: object, message: string): void
  warn(details: object, message: string): void
}

/** What every driver is given of the agent. */
export interface DriverHost {
  readonly stateFolder: string
  /** The agent that this host is and those that it was before, whose remains are its own; empty for a command without one. */
  readonly agents: readonly string[]
  readonly journal: LeaseJournal
  /** Undoes freezes that a lease left. */
  readonly thawer: Thawer
  /** Space that must stay free on the file system of the state folder, in bytes. */
  readonly reserveBytes: number
  readonly log: LeaseLog
  /** Leases that others hold and offer; absent for a command. */
  readonly offers?: Offers
  /** To be called when a machine (by name) may have come to this host or left it; absent for a command. */
  readonly onMoved?: (machine: string) => void
}

/** A driver whose machines no configuration names. */
export interface GivenKind {
  readonly name: string
  /** The payload of its leases' journal entries. */
  readonly payload: PayloadFormat
  /** Loads the driver's code, too: most commands need none of it. */
  open(host: DriverHost): Promise<LeaseDriver>
}

/** A driver as the registry knows it; its name is the value of the key `driver` of a `[[machine]]`. */
export interface DriverKind extends GivenKind {
  /** The key of a `[[machine]]` without `driver` by which it is this driver's. */
  readonly mark: string
  /** The keys of a `[[machine]]` that are this driver's. */
  readonly keys: v.ObjectEntries
  /** What is wrong with keys of which each fits by itself, and the key that says it; null for nothing. */
  faultOf?(keys: Machine['keys']): { readonly key: string; readonly message: string } | null
  /** The address in keys that fit. */
  addressOf(keys: Machine['keys']): string
}
