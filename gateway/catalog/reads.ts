// The reads that an agent announces for a backup: what the gateway can know of them, and what the machine's plan refuses. Pure.
import type { Consistency, LeftOutDisk, ReadKind, ReadReason } from '../../protocol/backup.ts'
import { VarveError, type ErrorCode, type ErrorDetails } from '../../protocol/errors.ts'
import type { Policy } from '../../protocol/schemas.ts'

/** Every disk of QEMU is a whole number of these, in bytes. */
export const SECTOR_BYTES = 512

/** A disk as `backup.begin` announces it. */
export interface BeginDisk {
  readonly name: string
  readonly size: number
  readonly kind: ReadKind
  readonly reason: ReadReason
  /** Name in the base of the image that an incremental read continues; null for a full read. */
  readonly base: string | null
  /** What the agent remembers of what lies under the disk. */
  readonly evidence: string
  /** Chunks said to be unchanged that were compared with the base. */
  readonly comparedChunks: number
}

/** The restore point that a job continues. */
export interface BasePoint {
  readonly point: string
  /** The agent that made it. */
  readonly agent: string
  /** False where no changes were recorded from its instant on. */
  readonly checkpoint: boolean
  readonly disks: readonly { name: string; size: number }[]
}

/** What the catalog knows of a job whose reads are announced. */
export interface JobFacts {
  /** Somebody asked for a full read. */
  readonly full: boolean
  /** Null where it continues none. */
  readonly base: Omit<BasePoint, 'agent'> | null
}

/** How an announced disk relates to the restore point that its job continues. */
export const RELATIONS = ['no-base', 'not-in-base', 'same-size', 'other-size'] as const
export type Relation = (typeof RELATIONS)[number]

interface ReasonRow {
  readonly kind: ReadKind
  /** Where the reason can hold. */
  readonly relations: readonly Relation[]
  /** Whether somebody asked for a full read; null where it does not matter. */
  readonly full: boolean | null
}

const readInFull = (relations: readonly Relation[], full: true | null = null): ReasonRow => ({
  kind: 'full',
  relations,
  full,
})

/** Relations of a disk, by its name, whose image may be another one's: its bitmap takes precedence over its name. */
const IN_A_BASE = ['not-in-base', 'same-size', 'other-size'] as const

/**
 * What the gateway can know of each reason. Only the hypervisor knows the state of a bitmap, and damage of a base may be healed
 * by now.
 */
const REASON_ROWS: Readonly<Record<ReadReason, ReasonRow>> = {
  bitmap: { kind: 'incremental', relations: ['same-size'], full: false },
  first: readInFull(['no-base']),
  requested: readInFull(RELATIONS, true),
  'disk-added': readInFull(['not-in-base']),
  // a disk that was smaller for a while has its old size again
  'size-changed': readInFull(IN_A_BASE),
  'bitmap-missing': readInFull(['same-size']),
  'bitmap-inconsistent': readInFull(IN_A_BASE),
  'bitmap-disabled': readInFull(IN_A_BASE),
  'checkpoint-mismatch': readInFull(IN_A_BASE),
  'backing-changed': readInFull(IN_A_BASE),
  'base-damaged': readInFull(IN_A_BASE),
  'changes-missed': readInFull(IN_A_BASE),
  moved: readInFull(['same-size', 'other-size']),
  'no-bitmap': readInFull(['same-size', 'other-size']),
}

const relationOf = (disk: BeginDisk, base: JobFacts['base']): Relation => {
  if (base === null) return 'no-base'
  const before = base.disks.find(({ name }) => name === (disk.base ?? disk.name))
  if (before === undefined) return 'not-in-base'
  return before.size === disk.size ? 'same-size' : 'other-size'
}

const relationWords = (relation: Relation, base: JobFacts['base']): string => {
  const point = `restore point ${base?.point ?? ''}, which this backup continues,`
  const words: Record<Relation, string> = {
    'no-base': 'this backup continues no restore point',
    'not-in-base': `${point} has no disk of this name`,
    'same-size': `${point} has this disk at the same size`,
    'other-size': `${point} has this disk at another size`,
  }
  return words[relation]
}

/** What is wrong with one announced disk, in words; null where the gateway knows nothing against it. */
const objectionTo = (disk: BeginDisk, facts: JobFacts): string | null => {
  const { size, kind, reason } = disk
  if (size === 0) return 'has no bytes: leave it out'
  if (size % SECTOR_BYTES !== 0) return `has ${size} bytes, which is no multiple of ${SECTOR_BYTES}`
  const row = REASON_ROWS[reason]
  if (kind !== row.kind) return `is read ${kind} for the reason ${reason}, which belongs to ${row.kind} reads only`
  if ((disk.base === null) !== (kind === 'full'))
    return kind === 'full' ? 'is read full and names an image to continue' : 'is incremental to no image of the base'
  if (row.full === true && !facts.full) return `is read in full as ${reason}, and no full read was asked for`
  if (row.full === false && facts.full) return `is read by its ${reason}, and a full read was asked for`
  if (kind === 'incremental' && facts.base?.checkpoint === false)
    return `is incremental to restore point ${facts.base.point}, which was made without a checkpoint`
  const relation = relationOf(disk, facts.base)
  if (row.relations.includes(relation)) return null
  return `is read ${kind} for the reason ${reason}, but ${relationWords(relation, facts.base)}`
}

/** Checks what is announced against what the gateway knows. UPLOAD_INVALID names the disk and what does not hold. */
export const checkReads = (disks: readonly BeginDisk[], facts: JobFacts): void => {
  checkAny(disks)
  if (new Set(disks.map(({ name }) => name)).size !== disks.length)
    throw new VarveError('UPLOAD_INVALID', 'two disks have the same name: each needs one of its own')
  const continued = disks.flatMap(({ base }) => base ?? [])
  if (new Set(continued).size !== continued.length)
    throw new VarveError('UPLOAD_INVALID', 'two disks continue one image of the base: each image has one successor')
  for (const disk of disks) {
    const objection = objectionTo(disk, facts)
    if (objection === null) continue
    const { name, kind, reason } = disk
    throw new VarveError('UPLOAD_INVALID', `disk ${name} ${objection}`, { details: { disk: name, kind, reason } })
  }
}

/** A restore point without any disk restores nothing and must not count as one that does: UPLOAD_INVALID. */
export const checkAny = (disks: readonly unknown[]): void => {
  if (disks.length === 0)
    throw new VarveError('UPLOAD_INVALID', 'a backup without any disk makes no restore point: give it a disk, or none')
}

/** Why a plan ends a job. */
export interface Refusal {
  readonly code: ErrorCode
  readonly message: string
  readonly details: ErrorDetails
}

/**
 * What the plan, as it is now, refuses of the reads, of what is left out and of the consistency that was reached:
 * FULL_REFUSED, DISK_LEFT_OUT, FREEZE_REQUIRED; null for nothing.
 */
export const refusedBy = (
  policy: Policy,
  disks: readonly BeginDisk[],
  { consistency, leftOut }: { readonly consistency: Consistency; readonly leftOut: readonly LeftOutDisk[] },
): Refusal | null => {
  const refused = disks.find(({ kind, reason }) => kind === 'full' && policy.refuseFull.includes(reason))
  if (refused !== undefined) {
    const { name: disk, reason } = refused
    const message = `disk ${disk} would be read in full (${reason}), which the machine's plan refuses`
    return { code: 'FULL_REFUSED', message, details: { disk, reason } }
  }
  const missing = leftOut.find(({ reason }) => policy.refuseLeftOut.includes(reason))
  if (missing !== undefined) {
    const { name: disk, reason } = missing
    const message = `disk ${disk} would be left out (${reason}), which the machine's plan refuses`
    return { code: 'DISK_LEFT_OUT', message, details: { disk, reason } }
  }
  if (policy.consistency === 'freeze-required' && consistency !== 'frozen')
    return {
      code: 'FREEZE_REQUIRED',
      message: `the machine's plan asks for frozen file systems, and what the backup reached is only "${consistency}"`,
      details: { consistency },
    }
  return null
}
