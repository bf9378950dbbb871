// The vocabulary of a backup, for both sides and the console: kinds, reasons, consistency, job states.

/** Why a disk was read in full (`bitmap`: it was not, the bitmap recorded what changed). */
export const READ_REASONS = [
  'bitmap',
  'first',
  'requested',
  'disk-added',
  'size-changed',
  'bitmap-missing',
  'bitmap-inconsistent',
  'bitmap-disabled',
  'checkpoint-mismatch',
  'backing-changed',
  'base-damaged',
  'changes-missed',
  'moved',
  'no-bitmap',
] as const
export type ReadReason = (typeof READ_REASONS)[number]

/** Why a disk of the machine is not in a restore point. */
export const LEFT_OUT_REASONS = ['excluded', 'read-only', 'same-disk', 'no-size', 'unplugged', 'floppy'] as const
export type LeftOutReason = (typeof LEFT_OUT_REASONS)[number]

/** A disk that a restore point does not hold. */
export interface LeftOutDisk {
  readonly name: string
  readonly reason: LeftOutReason
}

export const READ_KINDS = ['full', 'incremental'] as const
export type ReadKind = (typeof READ_KINDS)[number]

/**
 * What a policy asks of the guest: nothing, a freeze where its agent answers, a freeze or no backup, or, for guests without an
 * agent, that the whole machine is stopped for the instant.
 */
export const CONSISTENCY_WISHES = ['none', 'freeze', 'freeze-required', 'pause'] as const
export type ConsistencyWish = (typeof CONSISTENCY_WISHES)[number]

/** What was reached: as after a power cut; the same of a machine that stood still; or with the file systems frozen. */
export const CONSISTENCIES = ['crash', 'paused', 'frozen'] as const
export type Consistency = (typeof CONSISTENCIES)[number]

/**
 * `lease`: taking the instant of all disks, which a `freeze` of the guest may be within; `compare`: reading again what is said to
 * be unchanged; `announce`: telling the gateway of the disks; `disk`: reading and sending one; `attachments`: small files;
 * `check`: whether the lease held.
 */
export const BACKUP_STEPS = ['lease', 'freeze', 'compare', 'announce', 'disk', 'attachments', 'check'] as const
export type BackupStep = (typeof BACKUP_STEPS)[number]

export const JOB_STATES = ['running', 'committed', 'failed'] as const
export type JobState = (typeof JOB_STATES)[number]

/**
 * Where a running job is: opened and not accepted by its agent yet, taking the instant, reading again what is said to be
 * unchanged, reading and sending, and waiting for its commit with all bytes durable.
 */
export const JOB_PHASES = ['asked', 'preparing', 'comparing', 'reading', 'finishing'] as const
export type JobPhase = (typeof JOB_PHASES)[number]

/** What a job's upload waits for most: its disk, the threads of its agent, the way to the gateway, or the gateway. */
export const JOB_LIMITS = ['reading', 'compressing', 'link', 'gateway'] as const
export type JobLimit = (typeof JOB_LIMITS)[number]

/** Kind and reason of a restore point: full when every disk was read in full; the reason is that of the first disk that was. */
export const pointKind = (
  disks: readonly { readonly kind: ReadKind; readonly reason: ReadReason }[],
): { kind: ReadKind; reason: ReadReason } => ({
  kind: disks.every((disk) => disk.kind === 'full') ? 'full' : 'incremental',
  reason: disks.find((disk) => disk.kind === 'full')?.reason ?? 'bitmap',
})

interface ReadDisk {
  readonly name: string
  readonly kind: ReadKind
  readonly reason: ReadReason
}

/** Names of disks by the reason why they were read in full. */
const byReason = (disks: readonly ReadDisk[]): string => {
  const reasons = [...new Set(disks.map(({ reason }) => reason))]
  const namesOf = (reason: ReadReason): string =>
    disks
      .filter((disk) => disk.reason === reason)
      .map(({ name }) => name)
      .join(', ')
  return reasons.map((reason) => `${reason}: ${namesOf(reason)}`).join('; ')
}

/** How the disks of a point were read, for people: `full (first)`, `2 disks incremental, 1 full (bitmap-missing: vdb)`. */
export const kindText = (disks: readonly ReadDisk[]): string => {
  const full = disks.filter(({ kind }) => kind === 'full')
  const others = disks.length - full.length
  if (full.length === 0) return 'incremental'
  const [first] = full
  const alike = full.every(({ reason }) => reason === first!.reason)
  if (others === 0) return `full (${alike ? first!.reason : byReason(full)})`
  return `${others} ${others === 1 ? 'disk' : 'disks'} incremental, ${full.length} full (${byReason(full)})`
}
