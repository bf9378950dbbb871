// What the rules of retention are made of: bounds, groups, and the reasons for which a restore point stays.
import * as v from 'valibot'
import { name } from './schemas.ts'

/** Most restore points that one rule keeps. */
export const KEEP_MAX = 100_000

/** Longest `keep-within`, `lock` and age of a verification, in days. */
export const DAYS_MAX = 36_500

/** True for a zone that the clock of this program knows. */
export const isTimeZone = (text: string): boolean => {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

/** The one name that no group has: where commands take a group, it means no group. */
export const GROUP_NONE = 'none'

export const groupName = v.pipe(name, v.notValue(GROUP_NONE, 'the name of no group'))

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
