// Plans: what a person wants for machines: how fresh, how long kept, when allowed; as they travel and are stored.
import * as v from 'valibot'
import { CONSISTENCY_WISHES, LEFT_OUT_REASONS, READ_REASONS } from './backup.ts'
import { DAYS_MAX, groupName, isTimeZone, KEEP_MAX } from './retention.ts'
import { COMPARE_DAYS_MAX, count, name, timeMs, type Policy } from './schemas.ts'

/** Plans of one tenant. */
export const PLANS_MAX = 1000

/** Machines that one plan names. */
export const COVERED_MAX = 10_000

/** Groups that one plan names. */
export const COVERED_GROUPS_MAX = 1000

/** Patterns that one plan names. */
export const COVERED_PATTERNS_MAX = 100

/** Patterns of all plans of a tenant, as each machine is held against them. */
export const PATTERNS_MAX = 1000

/** Shortest freshness target, in milliseconds: a minute. */
export const RPO_MS_MIN = 60_000

/** Longest freshness target, in milliseconds: a year. */
export const RPO_MS_MAX = 366 * 24 * 3_600_000

/** Widest jitter, in milliseconds: a day. */
export const JITTER_MS_MAX = 24 * 3_600_000

/** Longest schedule and window, in characters. */
const SCHEDULE_CHARS_MAX = 256
const WINDOW_CHARS_MAX = 256

/** Longest reason of an exclusion, in characters. */
export const EXCLUSION_CHARS_MAX = 1024

/** Longer than a machine's name, so that a plan can carry one behind a word of its own. */
export const planName = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$/u, 'letters, digits, dot, dash and underscore, at most 80'),
)

/** A pattern of machines' names: `*` for any characters, `?` for one. */
export const machinePattern = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9._*?-]{1,63}$/u, 'a name with * for any characters and ? for one'),
)

const keep = v.pipe(count, v.maxValue(KEEP_MAX))
const days = v.pipe(v.number(), v.minValue(0), v.maxValue(DAYS_MAX))
const interval = v.nullable(v.pipe(v.number(), v.minValue(1 / 24), v.maxValue(DAYS_MAX)))
const listOf = <S extends v.GenericSchema>(schema: S, max: number) => v.pipe(v.array(schema), v.maxLength(max))

/** What a plan covers. A machine belongs to exactly one plan; `gateway/plans/covering.ts` says which. */
export const covers = v.object({
  machines: listOf(name, COVERED_MAX),
  groups: listOf(groupName, COVERED_GROUPS_MAX),
  patterns: listOf(machinePattern, COVERED_PATTERNS_MAX),
  /** All machines of the tenant that no other plan covers. */
  others: v.boolean(),
})
export type Covers = v.InferOutput<typeof covers>

/** Rules of retention; 0 switches a rule off, and rules that are all off keep everything. */
export const keepRules = v.object({
  last: keep,
  hourly: keep,
  daily: keep,
  /** ISO weeks: they begin on Monday. */
  weekly: keep,
  monthly: keep,
  yearly: keep,
  /** Keeps all points this young, counted back from the machine's newest point, in days. */
  withinDays: days,
})
export type KeepRules = v.InferOutput<typeof keepRules>

/** A plan without its name. */
export const planRules = v.object({
  /** False: it starts nothing and watches no freshness; its rules for backups and retention hold all the same. */
  enabled: v.boolean(),
  /** A cron expression of five fields, or `every 4h`; null: the gateway chooses by `rpoMs`, or, without that, starts nothing. */
  schedule: v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(SCHEDULE_CHARS_MAX))),
  /** Freshness target: no older than this may the newest point be, in milliseconds; null for what the schedule gives. */
  rpoMs: v.nullable(v.pipe(count, v.minValue(RPO_MS_MIN), v.maxValue(RPO_MS_MAX))),
  /** IANA name of the zone of schedule, window and the periods of retention. */
  timeZone: v.pipe(v.string(), v.maxLength(64), v.check(isTimeZone, 'not a time zone')),
  /** When backups may start, such as `22:00-06:00` or `Sat-Sun; Mon-Fri 20:00-06:00`; null for always. */
  window: v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(WINDOW_CHARS_MAX))),
  /** Width over which starts are spread, always alike for the same machine, in milliseconds. */
  jitterMs: v.pipe(count, v.maxValue(JITTER_MS_MAX)),
  /** What to require of the guest. */
  consistency: v.picklist(CONSISTENCY_WISHES),
  /** A full read for one of these reasons is refused (FULL_REFUSED). */
  refuseFull: v.pipe(v.array(v.picklist(READ_REASONS)), v.maxLength(READ_REASONS.length)),
  /** A backup that leaves a disk out for one of these reasons is refused (DISK_LEFT_OUT). */
  refuseLeftOut: v.pipe(v.array(v.picklist(LEFT_OUT_REASONS)), v.maxLength(LEFT_OUT_REASONS.length)),
  /** After so many days a backup compares all that is said to be unchanged with the restore point before; null for never. */
  compareDays: v.nullable(v.pipe(count, v.minValue(1), v.maxValue(COMPARE_DAYS_MAX))),
  keep: keepRules,
  /** New points are locked for so many days. */
  lockDays: days,
  /** Points are verified again after so many days; null for never. */
  verifyDays: interval,
  /** How often a restore is tried, in days; null for never. */
  drillDays: interval,
  /** Of two machines with the same slack the one of the higher priority starts first. */
  priority: v.pipe(count, v.maxValue(100)),
  covers,
})
export type PlanRules = v.InferOutput<typeof planRules>

export const plan = v.object({ name: planName, ...planRules.entries })
export type Plan = v.InferOutput<typeof plan>

/** Which points stay, by the clock of a zone: what prune takes of a plan, or from a person for one call. */
export const pruneRules = v.pick(planRules, ['keep', 'timeZone'])
export type PruneRules = v.InferOutput<typeof pruneRules>

/** A plan of which only what changes is said. */
export const planChange = v.object({
  name: planName,
  ...v.partial(v.omit(planRules, ['keep', 'covers'])).entries,
  keep: v.optional(v.partial(keepRules)),
  covers: v.optional(v.partial(covers)),
})
export type PlanChange = v.InferOutput<typeof planChange>

/** A field whose value differs, as people read it; null for one that is not there. Of lists, what goes and what comes. */
const difference = v.object({ field: v.string(), before: v.nullable(v.string()), after: v.nullable(v.string()) })

/** What becomes of one plan. */
export const planDifference = v.object({
  plan: planName,
  change: v.picklist(['added', 'changed', 'removed']),
  fields: v.array(difference),
})
export type PlanDifference = v.InferOutput<typeof planDifference>

export const KEEP_OFF: KeepRules = { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, withinDays: 0 }

/** What a plan is where it does not say: it starts nothing, keeps everything and covers nothing. */
export const PLAN_RULES_DEFAULT: PlanRules = {
  enabled: true,
  schedule: null,
  rpoMs: null,
  timeZone: 'UTC',
  window: null,
  jitterMs: 0,
  consistency: 'freeze',
  refuseFull: [],
  refuseLeftOut: [],
  compareDays: null,
  keep: KEEP_OFF,
  lockDays: 0,
  verifyDays: null,
  drillDays: null,
  priority: 50,
  covers: { machines: [], groups: [], patterns: [], others: false },
}

/** What a plan asks of backups; without a plan, what the default asks. */
export const policyOf = (rules: PlanRules | null): Policy => {
  const { consistency, refuseFull, refuseLeftOut, compareDays } = rules ?? PLAN_RULES_DEFAULT
  return { consistency, refuseFull, refuseLeftOut, compareDays }
}

/** Name of the plan that a new tenant is given. */
export const FIRST_PLAN_NAME = 'nightly'

/** The plan of a new tenant: every night, kept for days, weeks and months, all its machines. */
export const FIRST_PLAN: Plan = {
  ...PLAN_RULES_DEFAULT,
  name: FIRST_PLAN_NAME,
  schedule: '0 1 * * *',
  jitterMs: 3 * 3_600_000,
  keep: { last: 3, hourly: 0, daily: 14, weekly: 8, monthly: 12, yearly: 0, withinDays: 0 },
  verifyDays: 30,
  covers: { ...PLAN_RULES_DEFAULT.covers, others: true },
}

export const exclusionReason = v.pipe(v.string(), v.minLength(1), v.maxLength(EXCLUSION_CHARS_MAX))

/** Why a machine is left out of all plans. */
export const exclusion = v.object({
  /** Subject of the person who excluded it. */
  by: v.string(),
  reason: exclusionReason,
  sinceMs: timeMs,
  /** When it ends by itself; null for never. */
  untilMs: v.nullable(timeMs),
})
export type Exclusion = v.InferOutput<typeof exclusion>

/** Whether a machine is left out at an instant: an exclusion ends by itself. */
export const isExcluded = (of: Exclusion | null, nowMs: number): boolean =>
  of !== null && (of.untilMs === null || nowMs < of.untilMs)
