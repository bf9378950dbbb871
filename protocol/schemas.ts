// Schemas that several methods share: names, ids, sizes, disks, points.
import * as v from 'valibot'
import { attachmentBytes, attachmentName, attachments } from './attachments.ts'
import {
  BACKUP_STEPS,
  CONSISTENCIES,
  CONSISTENCY_WISHES,
  JOB_STATES,
  LEFT_OUT_REASONS,
  READ_KINDS,
  READ_REASONS,
} from './backup.ts'
import { DISK_BYTES_MAX, ID_BYTES } from './chunk.ts'
import {
  CONFIGURATION_CHARS_MAX,
  CURSOR_CHARS_MAX,
  DISKS_MAX,
  EVIDENCE_CHARS_MAX,
  LEFT_OUT_MAX,
  PAGE_ROWS_MAX,
} from './limits.ts'

export const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
/** Latest instant that a Date can hold, in milliseconds since 1970. */
const TIME_MS_MAX = 8.64e15

export const timeMs = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(TIME_MS_MAX))
/** A whole id; in upper case too, as people type what they read elsewhere. */
export const uuid = v.pipe(
  v.string(),
  v.toLowerCase(),
  v.regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u, 'not an id'),
)

/** An id or the beginning of one, as a person types it. */
export const idPrefix = v.pipe(
  v.string(),
  v.toLowerCase(),
  v.regex(/^[0-9a-f-]{4,36}$/u, 'not an id or its first characters (4 at least)'),
)

/** Tenant and machine names: they stand in paths of the RPC, logs and commands. */
export const name = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/u, 'letters, digits, dot, dash and underscore, at most 63'),
)

/** A disk's name comes from QEMU, which allows more; control characters are refused. */
export const diskName = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(255),
  v.regex(/^\P{Cc}+$/u, 'control characters'),
)

/** A msgpack bin of exactly `length` bytes. */
export const bytesOf = (length: number) =>
  v.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length === length, `not ${length} bytes`)

/** A msgpack bin of at most so many bytes. */
export const bytesUpTo = (max: number) =>
  v.custom<Uint8Array>((value) => value instanceof Uint8Array && value.length <= max, `not at most ${max} bytes`)
export const id32 = bytesOf(ID_BYTES)
/** Root of an image's tree; nil for an image of zeroes. */
export const root = v.nullable(id32)
/** Size of a disk, or a place or length in it, in bytes. */
export const diskBytes = v.pipe(count, v.maxValue(DISK_BYTES_MAX))

/** How a disk was read. */
export const readKind = v.picklist(READ_KINDS)
/** Why it was read in full; `bitmap` where it was not. */
export const readReason = v.picklist(READ_REASONS)
export const jobState = v.picklist(JOB_STATES)
/** What was reached: as after a power cut; the same of a machine that stood still; or with the file systems frozen. */
export const consistency = v.picklist(CONSISTENCIES)
export const note = v.nullable(v.pipe(v.string(), v.maxLength(1024)))

/** Why a disk was left out. */
export const leftOutReason = v.picklist(LEFT_OUT_REASONS)

/** Most days between two whole comparisons that a plan may ask for. */
export const COMPARE_DAYS_MAX = 3650

/** What a machine's backups must be: the part of its plan that its agent is given. */
export const policy = v.object({
  consistency: v.picklist(CONSISTENCY_WISHES),
  /** A full read for one of these reasons is refused (FULL_REFUSED). */
  refuseFull: v.pipe(v.array(readReason), v.maxLength(READ_REASONS.length)),
  /** A backup that leaves a disk out for one of these reasons is refused (DISK_LEFT_OUT). */
  refuseLeftOut: v.optional(v.pipe(v.array(leftOutReason), v.maxLength(LEFT_OUT_REASONS.length)), []),
  /** After so many days a backup compares all that is said to be unchanged with the restore point before; null for never. */
  compareDays: v.optional(v.nullable(v.pipe(count, v.minValue(1), v.maxValue(COMPARE_DAYS_MAX))), null),
})
export type Policy = v.InferOutput<typeof policy>

export const POLICY_DEFAULT: Policy = { consistency: 'freeze', refuseFull: [], refuseLeftOut: [], compareDays: null }

export const failure = v.object({ code: v.string(), message: v.string() })

export const disks = <S extends v.GenericSchema>(schema: S) => v.pipe(v.array(schema), v.maxLength(DISKS_MAX))

export const readDisk = v.object({ name: diskName, size: diskBytes, kind: readKind, reason: readReason })

/** Disks that a restore point does not hold, and why. */
export const leftOut = v.pipe(v.array(v.object({ name: diskName, reason: leftOutReason })), v.maxLength(LEFT_OUT_MAX))

/** What an agent remembers of the files under a disk: kept as it is and given back with the next backup, never interpreted. */
export const evidence = v.pipe(v.string(), v.maxLength(EVIDENCE_CHARS_MAX))

/** JSON text: kept as it is, shown to people, never interpreted. */
export const configuration = v.pipe(v.string(), v.maxLength(CONFIGURATION_CHARS_MAX))

/** What the scratch images of a backup took at most, in bytes, and what they could have taken; no limit where it needs none. */
export const scratchUse = v.object({ usedBytes: count, limitBytes: v.nullable(count) })
export type ScratchUse = v.InferOutput<typeof scratchUse>

/** What making a restore point took on its machine's host, as the agent told it with the end. */
export const took = v.object({
  /** How long the guest was frozen, in milliseconds: 0 where it was not, nil where the agent did not tell. */
  frozenMs: v.nullable(count),
  /** Nil where the agent did not tell. */
  scratch: v.nullable(scratchUse),
  /** How long each kind of step took, in milliseconds, all disks together; a freeze is within the lease. */
  steps: v.pipe(v.array(v.object({ step: v.picklist(BACKUP_STEPS), tookMs: count })), v.maxLength(BACKUP_STEPS.length)),
})
export type Took = v.InferOutput<typeof took>

/** What came of starting a copy of a machine; `passed`: the evidence came within the limit of time. */
export const DRILL_VERDICTS = ['passed', 'failed'] as const
export type DrillVerdict = (typeof DRILL_VERDICTS)[number]
export const drillVerdict = v.picklist(DRILL_VERDICTS)

/** The newest drill of a point, as the point shows it. */
export const pointDrill = v.object({
  id: uuid,
  verdict: drillVerdict,
  /** When the gateway took it. */
  addedMs: timeMs,
})
export type PointDrill = v.InferOutput<typeof pointDrill>

/** A restore point. */
export const point = v.object({
  id: uuid,
  machine: name,
  timeMs,
  /** By the gateway's clock its time is still to come: a clock was ahead when it was made, or is behind now. */
  future: v.boolean(),
  kind: readKind,
  reason: readReason,
  consistency,
  note,
  /** The restore point that it continued. */
  base: v.nullable(uuid),
  bytesRead: count,
  bytesSent: count,
  bytesStored: count,
  durationMs: count,
  /** Nil where its agent told nothing. */
  took: v.optional(v.nullable(took), null),
  /** Held by a person until it is released. */
  held: v.boolean(),
  /** Nobody can remove it before. */
  lockedUntilMs: v.nullable(timeMs),
  /** Somebody reads it, such as a machine that runs from it, and keeps it until then, or for longer; nil where nobody does. */
  usedUntilMs: v.optional(v.nullable(timeMs), null),
  /** When it was last verified and found whole or damaged. */
  verifiedMs: v.nullable(timeMs),
  /** Bytes of its disks and attachments that are known to be unreadable. */
  lostBytes: count,
  leftOut,
  disks: disks(
    v.object({
      ...readDisk.entries,
      changedBytes: count,
      /** Chunks said to be unchanged that were compared with the restore point before. */
      comparedChunks: count,
      root,
    }),
  ),
  /** Small files that go with it; `size` is bytes. */
  attachments: attachments(v.object({ name: attachmentName, size: attachmentBytes, root })),
  /** How many more should have gone with it and could not be had. */
  missingAttachments: count,
  /** The newest drill of it; nil where it was never tried. Older gateways do not say it. */
  drill: v.optional(v.nullable(pointDrill), null),
})
export type Point = v.InferOutput<typeof point>

const pageLimit = v.pipe(count, v.minValue(1), v.maxValue(PAGE_ROWS_MAX))

/** Where a page of a list ends: opaque, and good for the list that it came from only. */
const cursor = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(CURSOR_CHARS_MAX),
  v.regex(/^[A-Za-z0-9_-]+$/u, 'not a cursor'),
)

/** How every list is asked for a page. */
export const page = {
  /** Nil for the first page; `next` of the page before for the next one. */
  after: v.optional(v.nullable(cursor), null),
  /** Rows at most. */
  limit: v.optional(pageLimit, PAGE_ROWS_MAX),
}

/** Nil where no row follows the page. */
export const next = v.nullable(cursor)

/** The rows of one page. */
export const rows = <S extends v.GenericSchema>(row: S) => v.pipe(v.array(row), v.maxLength(PAGE_ROWS_MAX))
