// What long work on a datastore tells and finds: progress, and the reports of collection, verification, accounting, prune
// and check.
import * as v from 'valibot'
import { KEEP_REASONS } from './retention.ts'
import * as s from './schemas.ts'

/** Damaged records and lost ranges that one report lists; further ones are counted. */
export const REPORT_ROWS_MAX = 2000

/** Points whose loss one collection is told to accept. */
export const ACCEPTED_POINTS_MAX = 1000

/** Points that one answer of `points.prune` lists. */
export const PRUNE_POINTS_MAX = 8000

/** Rows of one report of usage: what fits a frame. */
export const USAGE_ROWS_MAX = 8000

/** How far long work is; `total` is null where it is not known yet. */
export const progress = v.object({
  phase: v.picklist(['mark', 'examine', 'sweep', 'rewrite', 'remove', 'read', 'attribute', 'scan', 'audit']),
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

/** Rows of one report; further ones are counted. */
export const reportRows = <S extends v.GenericSchema>(schema: S) =>
  v.pipe(v.array(schema), v.maxLength(REPORT_ROWS_MAX))

export const verifyReport = v.object({
  /** Restore points that were verified, and those of them that are whole. */
  points: s.count,
  good: s.count,
  nodes: s.count,
  chunks: s.count,
  /** Stored bytes that were read and checked. */
  bytes: s.count,
  /** Damage that this run found; what was known before is not repeated. */
  damaged: reportRows(damagedRecord),
  damagedCount: s.count,
  /** Every range of every point of the tenant that the known damage leaves unreadable. */
  lost: reportRows(lostRange),
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

/** `packBytes` and `missingBytes` are the sum of all the others; every one of them is 0 or more. */
export const usageParts = v.object({
  /** Records that one machine alone needs: the sum of `storedBytes` of all machines, also of those that are not listed. */
  machineBytes: s.count,
  /** Records that several machines need, and the tenant's state. */
  sharedBytes: s.count,
  /** Records that nothing needs: garbage, until a collection. */
  deadBytes: s.count,
  /** What backups under way have stored so far. */
  uploadBytes: s.count,
  /** What no row of the index names: headers of packs, ends of uploads that failed, second copies. */
  otherBytes: s.count,
  /** What the index names and packs do not have: more than 0 where pack files are cut or gone, and `otherBytes` is 0 then. */
  missingBytes: s.count,
})
export type UsageParts = v.InferOutput<typeof usageParts>

export const usageReport = v.object({
  /** Past USAGE_ROWS_MAX the oldest points are left out, then the last machines. */
  rows: v.pipe(v.array(usageRow), v.maxLength(USAGE_ROWS_MAX)),
  /** With those that were left out. */
  rowCount: s.count,
  /** Bytes of the tenant's pack files, dead ones included: what quotas count. */
  packBytes: s.count,
  /** Stored bytes of records in the index that no restore point refers to, less what running backups have stored. */
  deadBytes: s.count,
  /** What `packBytes` is made of, for a picture that adds up; PROTOCOL.md 7.2. */
  parts: usageParts,
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
  problems: reportRows(v.string()),
  problemCount: s.count,
})
export type CheckReport = v.InferOutput<typeof checkReport>
