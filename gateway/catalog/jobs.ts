// Jobs: a backup from its start to its commit or failure, with one upload per disk.
import type { AnnouncedAttachment, MissingAttachment } from '../../protocol/attachments.ts'
import type { Consistency, JobState, LeftOutDisk, ReadKind, ReadReason } from '../../protocol/backup.ts'
import type { Took } from '../../protocol/schemas.ts'
import type { Question, Transaction } from './call.ts'
import type { BasePoint, BeginDisk, Refusal } from './reads.ts'

/** A job with its uploads, in the order of its disks. */
export interface ShownBackup {
  readonly job: ShownJob
  readonly uploads: readonly ShownUpload[]
}

export interface JobsAsked {
  readonly tenant: string
  /** Narrows to the jobs that this agent made. */
  readonly agent: string | null
  readonly machine: string | null
  /** Only those that run; false where it is absent. */
  readonly running?: boolean
  /** Id of the last job of the page before; null for the first page. */
  readonly after: string | null
  readonly limit: number
}

/** Part of a list, which ends early where its jobs have very many disks. */
export interface JobPage {
  readonly jobs: readonly ShownBackup[]
  /** Whether jobs follow. */
  readonly more: boolean
}

/** An image of a base; `missed` where its bitmap is known to have missed changes. */
export interface ComparedRoot {
  readonly root: Uint8Array | null
  readonly size: number
  readonly missed: boolean
}

/** Why a job failed: the code and the message of an error. */
export interface JobFailure {
  readonly code: string
  readonly message: string
}

/** A job as it is shown: without `begun`, which holds its machine's configuration. */
export interface ShownJob {
  readonly id: string
  readonly machine: string
  readonly agent: string
  readonly subject: string
  readonly state: JobState
  readonly full: boolean
  /** True where all that is said to be unchanged is compared with the base. */
  readonly compare: boolean
  readonly base: string | null
  /** Its place among the tenant's jobs, in the order in which they started. */
  readonly seq: number
  readonly startedMs: number
  readonly endedMs: number | null
  /** True once the agent has released the lease. */
  readonly released: boolean
  readonly error: JobFailure | null
}

export interface JobRow extends ShownJob {
  /** Null until the lease has begun. */
  readonly begun: Begun | null
}

export interface Begun {
  readonly timeMs: number
  readonly consistency: Consistency
  readonly note: string | null
  readonly configuration: string
  readonly leftOut: readonly LeftOutDisk[]
  /** Changes are recorded from the instant on. */
  readonly checkpoint: boolean
  /** Files that should go with the point and could not be had. */
  readonly missing: readonly MissingAttachment[]
}

/** An upload as it is shown with its job. */
export interface ShownUpload {
  /** Name of the disk, or of the attachment. */
  readonly disk: string
  readonly attachment: boolean
  readonly size: number
  readonly kind: ReadKind
  readonly reason: ReadReason
  /** Chunks from the beginning that are durable. */
  readonly position: number
  readonly bytesSent: number
}

export interface UploadRow extends ShownUpload {
  readonly hasBase: boolean
  readonly baseRoot: Uint8Array | null
  readonly state: Uint8Array
  readonly finished: boolean
  readonly root: Uint8Array | null
  readonly bytesStored: number
  readonly changedBytes: number
  readonly evidence: string | null
  readonly comparedChunks: number
}

export interface JobCommit {
  readonly job: string
  readonly agent: string
  readonly bytesRead: number
  /** Absent or null where the agent told nothing. */
  readonly took?: Took | null
  readonly nowMs: number
  /** Record id of the manifest, which is durable already. */
  readonly manifest: Uint8Array
  /** Until when retention locks the new point; null where no plan says so. */
  readonly lockedUntilMs: number | null
}

/** Backups at once on one agent's host, of one tenant and of all; those that people start count. */
export interface JobLimits {
  readonly perHost: number
  readonly perTenant: number
  readonly perGateway: number
}

/** The due run that a job belongs to, the gateway that starts it, and how many jobs there may be with it. */
export interface PlannedStart {
  readonly id: string
  readonly owner: string
  readonly limits: JobLimits
}

export interface Jobs {
  /** The image of a running job's base that is compared with. NOT_FOUND, JOB_ENDED. */
  readonly baseImage: Question<{ job: string; agent: string; disk: string }, ComparedRoot>

  /**
   * Notes that the bitmap of a disk of the job's base has missed changes, also where the job has ended meanwhile: no backup
   * continues it again. NOT_FOUND.
   */
  readonly missed: Transaction<{ job: string; agent: string; disk: string }, void>

  readonly get: Question<{ tenant: string; job: string }, ShownBackup | null>

  /**
   * In the order in which they started, the last one first, whatever clocks said; fewer than asked where they have very many
   * disks.
   */
  readonly list: Question<JobsAsked, JobPage>

  /**
   * Opens a job and names the base its checkpoint continues; JOB_RUNNING when the machine has one open, EXISTS when its run is
   * not due any more, TOO_MANY_REQUESTS where so many are running already.
   */
  readonly start: Transaction<
    {
      id: string
      tenant: string
      /** Its name. */
      machine: string
      agent: string
      subject: string
      full: boolean
      /** Requested at the start; the plan may request it as well. */
      compare: boolean
      /** The due run that it belongs to, and which gateway starts it; absent where a person does, which is a run of its own. */
      run?: PlannedStart
      nowMs: number
    },
    { base: BasePoint | null; compare: boolean }
  >

  /**
   * Records what the lease promises and opens an upload per disk and attachment; the same call again changes nothing. The
   * instant comes from the agent and is clamped between the job's start and now (the earlier of both if the clock was set back):
   * retention counts by it, so a wrong or hostile clock must not control it. UPLOAD_INVALID for reads that cannot be what they
   * are said to be. A refusal by the machine's plan ends the job and is returned.
   */
  readonly begin: Transaction<
    {
      job: string
      agent: string
      begun: Begun
      /** How long before the job the instant may lie, in milliseconds; 0 where it is absent. */
      leadMs?: number
      disks: readonly BeginDisk[]
      /** None where it is absent. */
      attachments?: readonly AnnouncedAttachment[]
      state: Uint8Array
      nowMs: number
    },
    Refusal | null
  >

  readonly upload: Question<{ job: string; agent: string; disk: string }, UploadRow & { machine: string }>

  /**
   * The job with its uploads, for the manifest; UPLOAD rows must all be finished or IMAGE_INCOMPLETE. UPLOAD_INVALID where
   * there is none.
   */
  readonly complete: Question<{ job: string; agent: string }, { job: JobRow; uploads: UploadRow[] }>

  /** The commit: restore point, images and job in one transaction; the same call again changes nothing. */
  readonly commit: Transaction<JobCommit, void>

  /** Ends a running job as failed; one that failed before stays as it is, a committed one is JOB_ENDED. */
  readonly fail: Transaction<{ job: string; agent: string; code: string; message: string; nowMs: number }, void>

  /** Notes that the agent has released the lease of a job. NOT_FOUND. */
  readonly release: Transaction<{ job: string; agent: string }, void>

  /**
   * An agent (re)connected with these jobs: its other ones, except those just handed to it, have lost their lease. Returns the
   * state of each named job.
   */
  readonly reconcile: Transaction<
    { agent: string; jobs: readonly string[]; handed: readonly string[]; nowMs: number },
    { states: { job: string; state: JobState | null }[]; failed: string[] }
  >
}
