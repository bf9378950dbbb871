// What one life of a gateway is told to do, and what it says of it; both are plain JSON.
import type { ReadReason } from '../../protocol/backup.ts'
import type { FailpointName } from '../../gateway/common/failpoint.ts'
import type { DiskContent } from './contents.ts'

/** What happens at a failpoint, from its `hit`-th pass (0 is the first) for so many passes. */
export interface Fault {
  /** `writes` stands for every failpoint of a write together. */
  readonly at: FailpointName | 'writes'
  readonly hit: number
  readonly times: number
  readonly action: 'die' | 'ENOSPC' | 'EIO' | 'EROFS'
}

export interface ModelMachine {
  readonly tenant: string
  readonly name: string
  readonly agent: string
}

/** One piece of work; those of one step run beside one another. */
export type Op =
  | {
      readonly op: 'backup'
      readonly machine: string
      readonly full: boolean
      readonly timeMs: number
      readonly disks: readonly DiskContent[]
      /** Chunks of one message of runs. */
      readonly window: number
      /** Every so many chunks one that did not change is sent as if it had. */
      readonly touchEvery: number
      /** The link breaks before this chunk of the first disk; what comes then. */
      readonly cut: { readonly at: number; readonly after: 'resume' | 'abandon' | 'leave' } | null
    }
  | { readonly op: 'resume'; readonly machine: string; readonly job: string; readonly window: number }
  | { readonly op: 'restore'; readonly machine: string; readonly point: string }
  | { readonly op: 'hold'; readonly tenant: string; readonly point: string; readonly held: boolean }
  | { readonly op: 'lock'; readonly tenant: string; readonly point: string; readonly untilMs: number }
  | {
      readonly op: 'prune'
      readonly tenant: string
      /** Just these, or what goes when each machine keeps so many. */
      readonly points: readonly string[] | null
      readonly keepLast: number
    }
  | { readonly op: 'collect'; readonly tenant: string; readonly thresholdPercent: number }
  | { readonly op: 'verify'; readonly tenant: string }
  /** The lock is removed below the running gateway, and a second one tries to open the folder. */
  | { readonly op: 'intrude' }

export type BackupOp = Extract<Op, { op: 'backup' }>

export interface OpenDisk extends DiskContent {
  readonly incremental: boolean
  readonly reason: ReadReason
  /** Chunks that the gateway wants read again though they did not change. */
  readonly again: readonly number[]
}

/** A backup that an earlier life did not end, as its agent remembers it. */
export interface OpenBackup {
  readonly job: string
  readonly machine: string
  /** The point that its incremental disks continue. */
  readonly base: string | null
  readonly disks: readonly OpenDisk[]
  readonly touchEvery: number
  readonly begun: boolean
}

export interface LifePlan {
  /** The data folder. */
  readonly folder: string
  /** The file to which facts are added, and the folder in which removed packs are kept until their removal is durable. */
  readonly journal: string
  readonly aside: string
  readonly clockMs: number
  /** How much of that is a mistake: the clock is ahead, or behind, for this life only. */
  readonly clockOffMs: number
  /** A copy of the catalog is taken into this folder as it is before so many transactions of the life are through. */
  readonly copy: { readonly after: number; readonly into: string } | null
  readonly packBytesMax: number
  readonly machines: readonly ModelMachine[]
  /** Restore points that may be there, with what their disks hold, by id. */
  readonly known: Readonly<Record<string, readonly DiskContent[]>>
  readonly open: readonly OpenBackup[]
  readonly faults: readonly Fault[]
  /** Faults come from the beginning on, while the store recovers, or only once everything was looked at. */
  readonly faultsFrom: 'start' | 'steps'
  /** Whether everything is restored before the steps, or only listed. */
  readonly look: boolean
  readonly steps: readonly (readonly Op[])[]
  /** Whether the store is closed at the end, or just dies. */
  readonly close: boolean
  /** Codes with which the start, and whatever meets what was done to the folder, may be refused; each names a way out. */
  readonly refusals: readonly string[]
}

/** What a life says; a line of the journal each. */
export type Fact =
  | { readonly fact: 'opened' }
  | { readonly fact: 'listed'; readonly tenant: string; readonly points: readonly ListedPoint[] }
  | { readonly fact: 'audit'; readonly brokenSeq: number | null }
  | { readonly fact: 'checked' }
  | ({ readonly fact: 'started' } & OpenBackup)
  | { readonly fact: 'begun'; readonly job: string }
  | { readonly fact: 'committed'; readonly job: string }
  | {
      readonly fact: 'failed'
      readonly job: string | null
      readonly machine: string
      readonly code: string
      readonly message: string
    }
  /** `wrong` is the first chunk that is not what it must be. */
  | {
      readonly fact: 'restored'
      readonly point: string
      readonly wrong: number | null
      readonly code: string | null
      readonly message: string
    }
  | {
      readonly fact: 'doing'
      readonly id: number
      readonly op: Op
      readonly points: readonly string[]
      readonly alone: boolean
    }
  | {
      readonly fact: 'done'
      readonly id: number
      readonly op: Op
      readonly points: readonly string[]
      readonly report: unknown
      readonly alone: boolean
    }
  | { readonly fact: 'refused'; readonly id: number; readonly op: Op; readonly code: string; readonly message: string }
  | { readonly fact: 'fault'; readonly fault: Fault; readonly at: FailpointName }
  | { readonly fact: 'synced'; readonly file: string; readonly bytes: number }
  | { readonly fact: 'removing'; readonly file: string; readonly aside: string }
  | { readonly fact: 'removed'; readonly file: string }
  | { readonly fact: 'closed' }
  /** It could not open, look or close. */
  | { readonly fact: 'ended'; readonly code: string; readonly message: string }
  | { readonly fact: 'broken'; readonly message: string }

export interface ListedPoint {
  readonly id: string
  readonly machine: string
  readonly held: boolean
  readonly lockedUntilMs: number | null
  readonly lostBytes: number
}
