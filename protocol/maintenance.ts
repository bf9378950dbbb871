// The methods that maintain a tenant's datastore: retention, holds, collection, verification, accounting.
import * as v from 'valibot'
import { PAGE_ROWS_MAX, STREAM_WINDOW_BYTES } from './limits.ts'
import { DAYS_MAX, groupName, KEEP_REASONS, POLICIES_MAX, retention, RETENTION_SCOPES } from './retention.ts'
import * as s from './schemas.ts'

/** Damaged records and lost ranges that one report lists; further ones are counted. */
export const REPORT_ROWS_MAX = 2000

/** Points whose loss one collection is told to accept. */
export const ACCEPTED_POINTS_MAX = 1000

/** Points that one answer of `points.prune` lists. */
export const PRUNE_POINTS_MAX = 8000

/** Rows of one report of usage: what fits a frame. */
export const USAGE_ROWS_MAX = 8000

const READERS = ['owner', 'operator', 'viewer', 'auditor'] as const
const OPERATORS = ['owner', 'operator'] as const
const OWNER = ['owner'] as const
const none = v.object({})
const plain = { up: null, down: null, audited: false, servedBy: 'gateway' } as const

const stream = <M extends v.GenericSchema>(message: M) => ({ message, windowBytes: STREAM_WINDOW_BYTES })
const ratePerSecond = v.nullable(v.pipe(s.count, v.minValue(1024 * 1024)))

/** How far long work is; `total` is null where it is not known yet. */
export const progress = v.object({
  phase: v.picklist(['mark', 'examine', 'sweep', 'rewrite', 'remove', 'read', 'attribute', 'scan']),
  done: s.count,
  total: v.nullable(s.count),
})
export type MaintenanceProgress = v.InferOutput<typeof progress>

const records = v.object({ records: s.count, bytes: s.count })

/** What a collection found and did; bytes are those of pack files. */
export const collectionReport = v.object({
  dryRun: v.boolean(),
  /** Restore points and uploads under way whose trees were walked, tree nodes read, index rows looked at. */
  points: s.count,
  nodes: s.count,
  examined: records,
  live: records,
  /** Records that nothing refers to: taken out of the index (or, in a dry run, that would be). */
  dead: records,
  /** Records that something refers to and the index does not have: all of them are known damage. */
  missing: s.count,
  packs: v.object({ before: s.count, removed: s.count, rewritten: s.count, after: s.count }),
  bytesBefore: s.count,
  /** Live bytes that were copied into new packs. */
  bytesRewritten: s.count,
  bytesAfter: s.count,
  /**
   * Dead bytes still in packs: below the threshold, in packs that uploads are writing, in those with known damage, or in
   * packs whose live records found no room; a later collection frees them.
   */
  waiting: v.object({
    belowThresholdBytes: s.count,
    inUseBytes: s.count,
    damagedBytes: s.count,
    noRoomBytes: s.count,
  }),
  durationMs: s.count,
})
export type CollectionReport = v.InferOutput<typeof collectionReport>

export const damagedRecord = v.object({
  /** Hex. */
  id: v.string(),
  type: v.picklist(['chunk', 'node', 'manifest', 'state']),
  /** Where it lay: uuid of the pack and offset in it; null where the index did not have it. */
  pack: v.nullable(s.uuid),
  offset: v.nullable(s.count),
  reason: v.string(),
  foundMs: s.timeMs,
})
export type DamagedRecord = v.InferOutput<typeof damagedRecord>

/** A range of a disk that cannot be read. */
export const lostRange = v.object({
  point: s.uuid,
  machine: s.name,
  timeMs: s.timeMs,
  disk: s.diskName,
  offset: s.count,
  length: s.count,
})
export type LostRange = v.InferOutput<typeof lostRange>

const rows = <S extends v.GenericSchema>(schema: S) => v.pipe(v.array(schema), v.maxLength(REPORT_ROWS_MAX))

export const verifyReport = v.object({
  /** Restore points that were verified, and those of them that are whole. */
  points: s.count,
  good: s.count,
  nodes: s.count,
  chunks: s.count,
  /** Stored bytes that were read and checked. */
  bytes: s.count,
  /** Damage that this run found; what was known before is not repeated. */
  damaged: rows(damagedRecord),
  damagedCount: s.count,
  /** Every range of every point of the tenant that the known damage leaves unreadable. */
  lost: rows(lostRange),
  lostCount: s.count,
  durationMs: s.count,
})
export type VerifyReport = v.InferOutput<typeof verifyReport>

/** What one part of a tenant takes; PROTOCOL.md 7.2 says how the figures add up. */
export const usageRow = v.object({
  scope: v.picklist(['tenant', 'machine', 'disk', 'point']),
  /** Empty for the tenant. */
  machine: v.string(),
  disk: v.nullable(v.string()),
  point: v.nullable(s.uuid),
  timeMs: v.nullable(s.timeMs),
  points: s.count,
  /** Sizes of the disks, one for each restore point. */
  logicalBytes: s.count,
  /** Those of them that are not zero. */
  usedBytes: s.count,
  /** Plain bytes of chunks that nothing outside this part holds. */
  uniqueBytes: s.count,
  /** `usedBytes` less `uniqueBytes`: content held elsewhere as well, or repeated here. */
  sharedBytes: s.count,
  /** Stored bytes of the records that nothing outside this part needs: what removing it would free. */
  storedBytes: s.count,
})
export type UsageRow = v.InferOutput<typeof usageRow>

export const usageReport = v.object({
  /** Past USAGE_ROWS_MAX the oldest points are left out, then the last machines. */
  rows: v.pipe(v.array(usageRow), v.maxLength(USAGE_ROWS_MAX)),
  /** With those that were left out. */
  rowCount: s.count,
  /** Bytes of the tenant's pack files, dead ones included: what quotas count. */
  packBytes: s.count,
  /** Stored bytes of records in the index that no restore point refers to, less what running backups have stored. */
  deadBytes: s.count,
  quota: v.object({ softBytes: v.nullable(s.count), hardBytes: v.nullable(s.count) }),
  /** Of the tenant: `usedBytes` for each byte of `uniqueBytes`, and `uniqueBytes` for each byte of `storedBytes`. */
  dedupRatio: v.number(),
  compressionRatio: v.number(),
  /** Bytes newly stored by backups of the last 1, 7 and 30 days. */
  growth: v.object({ dayBytes: s.count, weekBytes: s.count, monthBytes: s.count }),
})
export type UsageReport = v.InferOutput<typeof usageReport>

/** One restore point in a plan of prune. */
export const prunedPoint = v.object({
  point: s.uuid,
  machine: s.name,
  timeMs: s.timeMs,
  /** Why it stays; none for a point that goes. */
  keptBy: v.pipe(v.array(v.picklist(KEEP_REASONS)), v.maxLength(KEEP_REASONS.length)),
})
export type PrunedPoint = v.InferOutput<typeof prunedPoint>

/** How packs, index and catalog differ. */
export const checkReport = v.object({
  packs: s.count,
  records: s.count,
  bytes: s.count,
  /** Whole records in packs that the index does not know: dead, or lost with an older catalog. */
  unindexed: records,
  /** Index rows whose record is not where they say. */
  dangling: s.count,
  /** Pack files that the catalog does not know, and pack rows without a file. */
  unknownPacks: s.count,
  missingPacks: s.count,
  /** Restore points that packs hold and the catalog does not. */
  unknownPoints: s.count,
  /** What could not be read or understood, in words. */
  problems: rows(v.string()),
  problemCount: s.count,
})
export type CheckReport = v.InferOutput<typeof checkReport>

const pointParams = v.object({ point: s.idPrefix })

export const MAINTENANCE_METHODS = {
  'points.hold': {
    ...plain,
    roles: OPERATORS,
    audited: true,
    params: v.object({ point: s.idPrefix, held: v.boolean() }),
    result: v.object({ point: s.point }),
  },
  'points.lock': {
    ...plain,
    roles: OWNER,
    audited: true,
    params: v.object({ point: s.idPrefix, untilMs: s.timeMs }),
    result: v.object({ point: s.point }),
  },
  'points.prune': {
    ...plain,
    roles: OPERATORS,
    audited: true,
    params: v.object({
      machine: v.nullable(s.name),
      group: v.nullable(groupName),
      /** Rules in place of the policies', for this call. */
      rules: v.nullable(retention),
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
    roles: READERS,
    params: pointParams,
    result: v.object({ lost: rows(lostRange), lostCount: s.count }),
  },
  'retention.set': {
    ...plain,
    roles: OWNER,
    audited: true,
    params: v.object({
      scope: v.picklist(RETENTION_SCOPES),
      /** Of the group or machine; empty for the tenant. */
      name: v.union([s.name, v.literal('')]),
      /** Null removes the policy. */
      rules: v.nullable(retention),
      /** Rules for a group that no machine is in yet; without it such a group is NOT_FOUND, as it may be mistyped. */
      newGroup: v.optional(v.boolean(), false),
    }),
    result: none,
  },
  'retention.list': {
    ...plain,
    roles: READERS,
    params: none,
    result: v.object({
      policies: v.pipe(
        v.array(v.object({ scope: v.picklist(RETENTION_SCOPES), name: v.string(), rules: retention })),
        v.maxLength(POLICIES_MAX),
      ),
    }),
  },
  'machines.setGroup': {
    ...plain,
    // with the group, the rules and locks that an owner set change
    roles: OWNER,
    audited: true,
    params: v.object({ machine: s.name, group: v.nullable(groupName) }),
    result: none,
  },
  'store.collect': {
    ...plain,
    roles: OPERATORS,
    audited: true,
    params: v.object({
      dryRun: v.boolean(),
      /** Packs with less than so many percent of live bytes are rewritten. */
      thresholdPercent: v.pipe(s.count, v.maxValue(100)),
      bytesPerSecond: ratePerSecond,
      /** Whole ids of points of which trees that cannot be read may be given up, with all that only they lead to. */
      acceptLoss: v.optional(v.pipe(v.array(s.uuid), v.minLength(1), v.maxLength(ACCEPTED_POINTS_MAX))),
    }),
    result: collectionReport,
    down: stream(progress),
  },
  'store.verify': {
    ...plain,
    roles: OPERATORS,
    audited: true,
    params: v.object({
      point: v.nullable(s.idPrefix),
      machine: v.nullable(s.name),
      /** Only points that were not verified for so many days; null takes all. */
      olderThanDays: v.nullable(v.pipe(v.number(), v.minValue(0), v.maxValue(DAYS_MAX))),
      bytesPerSecond: ratePerSecond,
    }),
    result: verifyReport,
    down: stream(progress),
  },
  'store.check': {
    ...plain,
    roles: OPERATORS,
    audited: true,
    params: v.object({ bytesPerSecond: ratePerSecond }),
    result: checkReport,
    down: stream(progress),
  },
  'store.usage': {
    ...plain,
    roles: READERS,
    audited: true,
    params: v.object({ machine: v.nullable(s.name), points: v.boolean() }),
    result: usageReport,
    down: stream(progress),
  },
} as const
