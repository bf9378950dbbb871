// The methods that keep the datastore: collection, verification, accounting and checks.
import * as v from 'valibot'
import {
  ACCEPTED_POINTS_MAX,
  checkReport,
  collectionReport,
  damagedRecord,
  lostRange,
  progress,
  reportRows,
  usageReport,
  verifyReport,
} from './maintenance.ts'
import { GROWTH_DAYS_MAX, storeForecast, storeGrowth, storeProof } from './forecast.ts'
import { audited, dryable, none, OPERATORS, PEOPLE, plain, PLATFORM, streamOf } from './method.ts'
import { DAYS_MAX } from './retention.ts'
import * as s from './schemas.ts'

const ratePerSecond = v.nullable(v.pipe(s.count, v.minValue(1024 * 1024)))

export const UPKEEP_METHODS = {
  'store.collect': {
    ...dryable,
    roles: OPERATORS,
    params: v.object({
      dryRun: v.boolean(),
      /** Packs with less than so many percent of live bytes are rewritten. */
      thresholdPercent: v.pipe(s.count, v.maxValue(100)),
      bytesPerSecond: ratePerSecond,
      /** Whole ids of points of which trees that cannot be read may be given up, with all that only they lead to. */
      acceptLoss: v.optional(v.pipe(v.array(s.uuid), v.minLength(1), v.maxLength(ACCEPTED_POINTS_MAX))),
    }),
    result: collectionReport,
    down: streamOf(progress),
  },
  'store.verify': {
    ...audited,
    roles: OPERATORS,
    params: v.object({
      point: v.nullable(s.idPrefix),
      machine: v.nullable(s.name),
      /** Only points that were not verified for so many days; null takes all. */
      olderThanDays: v.nullable(v.pipe(v.number(), v.minValue(0), v.maxValue(DAYS_MAX))),
      bytesPerSecond: ratePerSecond,
    }),
    result: verifyReport,
    down: streamOf(progress),
  },
  'store.check': {
    ...audited,
    roles: OPERATORS,
    params: v.object({ bytesPerSecond: ratePerSecond }),
    result: checkReport,
    down: streamOf(progress),
  },
  'store.usage': {
    ...plain,
    roles: PEOPLE,
    params: v.object({ machine: v.nullable(s.name), points: v.boolean() }),
    result: usageReport,
    down: streamOf(progress),
  },
  /** What the tenant's packs took on each day, against its quota; for the platform the same of the disk. */
  'store.growth': {
    ...plain,
    roles: [...PEOPLE, 'platform'],
    params: v.object({ days: v.optional(v.pipe(s.count, v.minValue(1), v.maxValue(GROWTH_DAYS_MAX)), 90) }),
    result: storeGrowth,
  },
  'store.proof': {
    ...plain,
    roles: PEOPLE,
    params: v.object({ limit: s.page.limit }),
    result: storeProof,
  },
  'store.damage': {
    ...plain,
    roles: PEOPLE,
    params: v.object(s.page),
    result: v.object({
      /** Records that cannot be read, by their ids. */
      records: s.rows(damagedRecord),
      next: s.next,
      /** What of restore points they leave unreadable: the first rows; `points.lost` has all those of one point. */
      lost: s.rows(lostRange),
      lostCount: s.count,
      lostBytes: s.count,
    }),
  },
  /** When the disk is used up down to its reserve, if it goes on growing as it did in the last 30 days. */
  'store.forecast': { ...plain, roles: PLATFORM, params: none, result: storeForecast },
  'store.checkFolder': {
    ...audited,
    roles: PLATFORM,
    params: none,
    /** What is wrong with what belongs to no single tenant, in words. */
    result: v.object({ problems: reportRows(v.string()) }),
  },
} as const
