// The methods about restore points: which there are, their images, what keeps them, and what lets them go.
import * as v from 'valibot'
import { missingAttachments } from './attachments.ts'
import { changedRange, CHANGES_MAX, granularity } from './changes.ts'
import { CHUNK_WINDOW_BYTES, PAGE_ROWS_MAX, POINT_USE_MS_MAX } from './limits.ts'
import { lostRange, PRUNE_POINTS_MAX, prunedPoint } from './maintenance.ts'
import { audited, dryable, none, OPERATORS, OWNER, PEOPLE, plain, READERS, STARTERS, streamOf } from './method.ts'
import { planName, pruneRules } from './plans.ts'
import { groupName } from './retention.ts'
import * as s from './schemas.ts'
import { downloadDown, position, readDown, readUp } from './transfer.ts'

export const POINT_METHODS = {
  'points.list': {
    ...plain,
    roles: READERS,
    params: v.object({
      /** Nil for all. */
      machine: v.nullable(s.name),
      /** Only those of this time and older; nil for all. */
      untilMs: v.optional(v.nullable(s.timeMs), null),
      ...s.page,
    }),
    /** A page ends early where its points have many disks. */
    result: v.object({ points: s.rows(s.point), next: s.next }),
  },
  'points.get': {
    ...plain,
    roles: READERS,
    params: v.object({ point: s.idPrefix }),
    result: v.object({ point: s.point, configuration: s.configuration, missing: missingAttachments }),
  },
  'image.download': {
    ...audited,
    roles: STARTERS,
    /**
     * `disk` is the name of a disk or of an attachment. With `skipDamaged`, what cannot be read is said to be lost and does not
     * end the download.
     */
    params: v.object({ point: s.uuid, disk: s.diskName, position, skipDamaged: v.boolean() }),
    result: none,
    down: streamOf(downloadDown, CHUNK_WINDOW_BYTES),
  },
  'image.read': {
    ...audited,
    roles: STARTERS,
    /** `disk` is the name of a disk or of an attachment. */
    params: v.object({ point: s.uuid, disk: s.diskName }),
    result: none,
    up: streamOf(readUp),
    down: streamOf(readDown, CHUNK_WINDOW_BYTES),
  },
  'points.hold': {
    ...audited,
    roles: OPERATORS,
    params: v.object({ point: s.idPrefix, held: v.boolean() }),
    result: v.object({ point: s.point }),
  },
  'points.use': {
    ...audited,
    roles: STARTERS,
    params: v.object({
      /** Of the caller's choice: what it renews and ends the use by. */
      use: s.uuid,
      point: s.uuid,
      /** From now; 0 ends it. */
      ttlMs: v.pipe(s.count, v.maxValue(POINT_USE_MS_MAX)),
    }),
    /** When it is over, by the gateway's clock. */
    result: v.object({ untilMs: s.timeMs }),
  },
  'points.lock': {
    ...audited,
    roles: OWNER,
    params: v.object({ point: s.idPrefix, untilMs: s.timeMs }),
    result: v.object({ point: s.point }),
  },
  'points.prune': {
    ...dryable,
    roles: OPERATORS,
    params: v.object({
      machine: v.nullable(s.name),
      group: v.nullable(groupName),
      /** Only machines that this plan covers now. */
      plan: v.optional(v.nullable(planName), null),
      /** Rules in place of the plans', for this call. */
      rules: v.nullable(pruneRules),
      /** Just these points, whatever the rules say. */
      points: v.nullable(v.pipe(v.array(s.idPrefix), v.minLength(1), v.maxLength(PAGE_ROWS_MAX))),
      dryRun: v.boolean(),
    }),
    result: v.object({
      /** Those that go first, then those that stay; past PRUNE_POINTS_MAX they are counted only. */
      points: v.pipe(v.array(prunedPoint), v.maxLength(PRUNE_POINTS_MAX)),
      pointCount: s.count,
      /** Removed; in a dry run, what would be. */
      removed: s.count,
    }),
  },
  'points.lost': {
    ...plain,
    roles: PEOPLE,
    params: v.object({ point: s.idPrefix, ...s.page }),
    /** `lostCount` is that of all pages. */
    result: v.object({ lost: s.rows(lostRange), lostCount: s.count, next: s.next }),
  },
  'points.changes': {
    ...plain,
    roles: READERS,
    params: v.object({
      /** The older of the two; nil for an empty disk, against which all content is a change. */
      from: v.nullable(s.idPrefix),
      to: s.idPrefix,
      disk: s.diskName,
      /** The disk's name in `from`; nil where it is the same. */
      fromDisk: v.optional(v.nullable(s.diskName), null),
      /** Where to begin, rounded down to the granularity. */
      offset: v.optional(s.diskBytes, 0),
      /** How far to look; nil for the rest of the disk. */
      bytes: v.optional(v.nullable(v.pipe(s.diskBytes, v.minValue(1))), null),
      /** Ranges at most. */
      limit: v.optional(v.pipe(s.count, v.minValue(1), v.maxValue(CHANGES_MAX)), CHANGES_MAX),
      /** Nil for the tenant's chunks, which nothing finer is told of. */
      granularity: v.optional(v.nullable(granularity), null),
    }),
    result: v.object({
      /** Of the disk in `to`, and in `from`; nil without one. */
      size: s.diskBytes,
      fromSize: v.nullable(s.diskBytes),
      /** How finely the ranges tell it. */
      granularity,
      /** What was looked at: outside the ranges nothing of it differs. */
      covered: v.object({ offset: s.diskBytes, bytes: s.diskBytes }),
      /** Ascending and disjoint. */
      ranges: v.pipe(v.array(changedRange), v.maxLength(CHANGES_MAX)),
      /** Sum of the ranges. */
      changedBytes: s.diskBytes,
      /** The `offset` of the next call; nil where all that was asked for is covered. */
      next: v.nullable(s.diskBytes),
    }),
  },
} as const
