// Which restore points a policy keeps: its rules and its time zone, as they travel and are stored.
import * as v from 'valibot'
import { count, name } from './schemas.ts'

/** Most restore points that one rule keeps. */
export const KEEP_MAX = 100_000

/** Longest `keep-within`, `lock` and age of a verification, in days. */
export const DAYS_MAX = 36_500

const keep = v.pipe(count, v.maxValue(KEEP_MAX))
const days = v.pipe(v.number(), v.minValue(0), v.maxValue(DAYS_MAX))

/** True for a zone that the clock of this program knows. */
export const isTimeZone = (text: string): boolean => {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

/** Rules of retention; 0 switches a rule off, and rules that are all off keep everything. */
export const retention = v.object({
  keepLast: keep,
  keepHourly: keep,
  keepDaily: keep,
  /** ISO weeks: they begin on Monday. */
  keepWeekly: keep,
  keepMonthly: keep,
  keepYearly: keep,
  /** Keeps all points this young, counted back from the machine's newest point, in days. */
  keepWithinDays: days,
  /** IANA name of the zone whose clock says where hours, days, weeks, months and years begin. */
  timeZone: v.pipe(v.string(), v.maxLength(64), v.check(isTimeZone, 'not a time zone')),
  /** New points are locked for so many days. */
  lockDays: days,
})
export type Retention = v.InferOutput<typeof retention>

/** Rules that are all off: everything stays, nothing is locked. */
export const RETENTION_OFF: Retention = {
  keepLast: 0,
  keepHourly: 0,
  keepDaily: 0,
  keepWeekly: 0,
  keepMonthly: 0,
  keepYearly: 0,
  keepWithinDays: 0,
  timeZone: 'UTC',
  lockDays: 0,
}

/** Policies of one tenant: what one answer of `retention.list` can hold. */
export const POLICIES_MAX = 7000

/** The one name that no group has: where commands take a group, it means no group. */
export const GROUP_NONE = 'none'

export const groupName = v.pipe(name, v.notValue(GROUP_NONE, 'the name of no group'))

/** What a policy of retention is for: all machines of a tenant, those of a group, or one. The nearest one counts. */
export const RETENTION_SCOPES = ['tenant', 'group', 'machine'] as const
export type RetentionScope = (typeof RETENTION_SCOPES)[number]

/** Names of rules, as a plan shows why a point stays. */
export const KEEP_REASONS = [
  'last',
  'hourly',
  'daily',
  'weekly',
  'monthly',
  'yearly',
  'within',
  'no-rules',
  'future',
  'held',
  'locked',
  'last-good',
  'next-base',
  'in-use',
] as const
export type KeepReason = (typeof KEEP_REASONS)[number]
