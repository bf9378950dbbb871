// What users of a libvirt connection see: domains, checkpoints, jobs, events and the calls on them.
import type { VarveError } from '../../protocol/errors.ts'
import type {
  BlockJobState,
  BlockJobType,
  DomainState,
  DomainStateReason,
  IoErrorAction,
  JobOperation,
  JobType,
  Lifecycle,
  LifecycleDetail,
} from './codes.ts'

/** A domain as libvirt names it; two with one `uuid` are one. */
export interface LibvirtDomain {
  readonly name: string
  /** Lower case with dashes. */
  readonly uuid: string
  /** The running instance's number, null while the domain is off; it changes with every start. */
  readonly id: number | null
}

export interface LibvirtCheckpoint {
  readonly name: string
  readonly domain: LibvirtDomain
}

export interface LibvirtSnapshot {
  readonly name: string
  readonly domain: LibvirtDomain
}

export interface LibvirtDomainState {
  readonly state: DomainState
  readonly reason: DomainStateReason
}

export interface LibvirtDomainInfo {
  readonly state: DomainState
  readonly memoryMaxBytes: number
  readonly memoryBytes: number
  readonly cpus: number
}

/** A value of a typed parameter; the 64-bit kinds are bigint. */
export type LibvirtValue = string | number | bigint | boolean

/** The job that a domain runs or ran last; sizes are bytes, null where libvirt does not tell. */
export interface LibvirtJob {
  readonly type: JobType
  readonly operation: JobOperation
  readonly elapsedMs: number | null
  readonly diskTotal: number | null
  readonly diskProcessed: number | null
  /** What a pull backup's scratch images hold. */
  readonly scratchUsed: number | null
  readonly scratchTotal: number | null
  /** Of an ended job: whether it succeeded; null where libvirt does not tell. */
  readonly success: boolean | null
  readonly errorMessage: string | null
  /** Everything libvirt told, by its own names. */
  readonly values: ReadonlyMap<string, LibvirtValue>
}

/** Sizes of a disk's image, in bytes. */
export interface LibvirtBlockInfo {
  /** What the guest sees. */
  readonly capacity: number
  /** The highest place in the file that the image uses, of a running machine; what the file holds, of one that is off. */
  readonly allocation: number
  /** The file's end. */
  readonly physical: number
}

export interface LibvirtDiskError {
  /** The disk's target name, such as `vda`. */
  readonly disk: string
  readonly error: 'unspecified' | 'no-space'
}

export interface LibvirtBlockJob {
  readonly type: BlockJobType
  readonly current: bigint
  readonly end: bigint
}

export type LibvirtEvent =
  | {
      readonly kind: 'lifecycle'
      readonly domain: LibvirtDomain
      readonly event: Lifecycle
      readonly detail: LifecycleDetail
    }
  /** A job of the whole domain ended: a backup, a migration, a save. `job.operation` says which. */
  | { readonly kind: 'job-completed'; readonly domain: LibvirtDomain; readonly job: LibvirtJob }
  | {
      readonly kind: 'block-job'
      readonly domain: LibvirtDomain
      /** The disk's target name, such as `vda`. */
      readonly disk: string
      readonly job: BlockJobType
      readonly state: BlockJobState
    }
  | {
      readonly kind: 'io-error'
      readonly domain: LibvirtDomain
      /** The disk's source path; empty where it has none. */
      readonly path: string
      /** The device's alias, such as `virtio-disk0`. */
      readonly device: string
      readonly action: IoErrorAction
      /** Such as `enospc`; empty where libvirt does not tell. */
      readonly reason: string
    }
  /** An outgoing migration began another round over the memory. */
  | { readonly kind: 'migration-iteration'; readonly domain: LibvirtDomain; readonly iteration: number }
  | {
      readonly kind: 'block-threshold'
      readonly domain: LibvirtDomain
      /** The disk's target name, such as `vda` or `vda[1]`. */
      readonly device: string
      readonly path: string | null
      readonly threshold: bigint
      readonly excess: bigint
    }
  | { readonly kind: 'agent'; readonly domain: LibvirtDomain; readonly connected: boolean }

export interface LibvirtCallOptions {
  /** How long the daemon may take, in milliseconds. */
  readonly timeoutMs?: number
}

export interface DomainXmlOptions extends LibvirtCallOptions {
  /** The definition of the next start instead of what runs. */
  readonly inactive?: boolean
  /** With passwords. */
  readonly secure?: boolean
  /** Without what another host's or an older libvirt would not understand. */
  readonly migratable?: boolean
}

/**
 * Calls on one libvirt daemon. Each may fail with LIBVIRT_UNAVAILABLE (no connection, or it ended), LIBVIRT_TIMEOUT (the
 * call goes on in the daemon), LIBVIRT_PROTOCOL (an answer that is none) and LIBVIRT_ERROR: the daemon refused, with
 * `details.libvirtCode` (see LIBVIRT_CODES), `details.libvirtDomain` and `details.message`.
 */
export interface LibvirtCaller {
  /** The version of libvirt, such as 9000000 for 9.0.0. */
  readonly version: number
  /** The version of the QEMU that new domains get, such as 7002022 for 7.2.22. */
  hypervisorVersion(): Promise<number>
  /** Resolves once, when the connection has ended, with why. */
  readonly closed: Promise<VarveError>

  /** LIBVIRT_ERROR with LIBVIRT_CODES.noDomain where there is none; see `isLibvirtError`. */
  domainByName(name: string): Promise<LibvirtDomain>
  domainByUuid(uuid: string): Promise<LibvirtDomain>
  /** Every domain, running or not; with `active` only the ones that run (true) or do not (false). */
  listAllDomains(options?: { readonly active?: boolean }): Promise<LibvirtDomain[]>
  domainXml(domain: LibvirtDomain, options?: DomainXmlOptions): Promise<string>
  domainState(domain: LibvirtDomain): Promise<LibvirtDomainState>
  domainInfo(domain: LibvirtDomain): Promise<LibvirtDomainInfo>
  isPersistent(domain: LibvirtDomain): Promise<boolean>
  autostart(domain: LibvirtDomain): Promise<boolean>

  /** Starts a backup and, in the same instant, makes a checkpoint. Flags: `reuseExternal` takes the scratch files as they are. */
  backupBegin(
    domain: LibvirtDomain,
    backupXml: string,
    checkpointXml: string | null,
    options?: LibvirtCallOptions & { readonly reuseExternal?: boolean },
  ): Promise<void>
  /** The running backup as libvirt sees it. LIBVIRT_CODES.noBackup where none runs. */
  backupXml(domain: LibvirtDomain): Promise<string>
  /** Ends the domain's job, whichever it is; a pull backup's end is the normal one. Returns before the job has gone. */
  abortJob(domain: LibvirtDomain): Promise<void>
  /** The running job (`type` is `none` without one), or with `completed` the one that ended last. */
  jobStats(
    domain: LibvirtDomain,
    options?: { readonly completed?: boolean; readonly keepCompleted?: boolean },
  ): Promise<LibvirtJob>
  /** Null where no block job runs on the disk; pull backups are none. */
  blockJobInfo(domain: LibvirtDomain, disk: string): Promise<LibvirtBlockJob | null>

  /** Every checkpoint of the domain, parents before children. */
  listCheckpoints(domain: LibvirtDomain): Promise<LibvirtCheckpoint[]>
  /** LIBVIRT_CODES.noCheckpoint where there is none. */
  checkpointByName(domain: LibvirtDomain, name: string): Promise<LibvirtCheckpoint>
  /**
   * With `size` each disk carries what changed since, in bytes, for which the domain must run. With `domain` it carries the
   * domain's definition of its time.
   */
  checkpointXml(
    checkpoint: LibvirtCheckpoint,
    options?: { readonly size?: boolean; readonly domain?: boolean; readonly secure?: boolean },
  ): Promise<string>
  /** Null for a root. */
  checkpointParent(checkpoint: LibvirtCheckpoint): Promise<LibvirtCheckpoint | null>
  /**
   * With `redefine` only libvirt's notes are written; `redefineValidate` has the disks' bitmaps checked too, for which the
   * domain must run.
   */
  checkpointCreate(
    domain: LibvirtDomain,
    xml: string,
    options?: { readonly redefine?: boolean; readonly redefineValidate?: boolean },
  ): Promise<LibvirtCheckpoint>
  /** Merges its bitmaps into its parent's; with `metadataOnly` the disks stay as they are. */
  checkpointDelete(
    checkpoint: LibvirtCheckpoint,
    options?: { readonly children?: boolean; readonly metadataOnly?: boolean },
  ): Promise<void>

  /** Freezes every filesystem by the guest's agent; how many. LIBVIRT_CODES.agentUnresponsive without an agent. */
  /** All file systems of the guest, or those at these mount points. */
  fsFreeze(
    domain: LibvirtDomain,
    options?: LibvirtCallOptions & { readonly mountpoints?: readonly string[] },
  ): Promise<number>
  fsThaw(domain: LibvirtDomain, options?: LibvirtCallOptions): Promise<number>

  listSnapshots(domain: LibvirtDomain): Promise<LibvirtSnapshot[]>
  blockInfo(domain: LibvirtDomain, disk: string): Promise<LibvirtBlockInfo>
  /** The disks whose errors stopped the domain; it must run. */
  diskErrors(domain: LibvirtDomain): Promise<LibvirtDiskError[]>
  /** Lets a paused domain go on. */
  resume(domain: LibvirtDomain): Promise<void>
  suspend(domain: LibvirtDomain): Promise<void>
  /** Whether the domain is off with its memory saved for the next start. */
  hasManagedSave(domain: LibvirtDomain): Promise<boolean>

  /** Calls `listener` for the events of every domain from now on; it must not throw. Returns a function that unsubscribes. */
  subscribe(listener: (event: LibvirtEvent) => void): () => void
  close(): void
}
