// Which restore points of one machine stay, and why: a pure plan over times, rules and a time zone.
import type { KeepRules, PruneRules } from '../../protocol/plans.ts'
import type { KeepReason } from '../../protocol/retention.ts'
import type { RetentionPoint } from '../catalog/retention.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import { believedTimes } from './believed-times.ts'

/** A restore point as a plan sees it, of whatever machine. */
export type PlannedPoint = Omit<RetentionPoint, 'machine'>

/** The plan for one point: without any reason it is removed. */
export interface PointPlan<P extends PlannedPoint> {
  readonly point: P
  readonly keptBy: readonly KeepReason[]
}

/** Names of the periods that an instant lies in, by the clock of one time zone. */
interface Periods {
  readonly hourly: string
  readonly daily: string
  readonly weekly: string
  readonly monthly: string
  readonly yearly: string
}

const isoWeek = (year: number, month: number, day: number): string => {
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  // the week belongs to the year that its Thursday lies in
  date.setUTCDate(date.getUTCDate() + 4 - (date.getUTCDay() || 7))
  const firstMs = new Date(0).setUTCFullYear(date.getUTCFullYear(), 0, 1)
  return `${date.getUTCFullYear()}-W${Math.floor((date.getTime() - firstMs) / DAY_MS / 7) + 1}`
}

const periodsIn = (timeZone: string): ((timeMs: number) => Periods) => {
  const format = new Intl.DateTimeFormat('en-US-u-ca-gregory-nu-latn', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
  })
  return (timeMs) => {
    const parts = new Map(format.formatToParts(timeMs).map(({ type, value }) => [type, Number(value)]))
    const [year, month, day] = [parts.get('year')!, parts.get('month')!, parts.get('day')!]
    const daily = `${year}-${month}-${day}`
    return {
      // an hour that the clock repeats is one
      hourly: `${daily} ${parts.get('hour')!}`,
      daily,
      weekly: isoWeek(year, month, day),
      monthly: `${year}-${month}`,
      yearly: `${year}`,
    }
  }
}

/** A point that an earlier rule keeps covers its period for the later ones, so the order is part of the rules. */
const COUNTED = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const

/** True for rules none of which keeps anything by itself: then everything is kept. */
export const isOff = (keep: KeepRules): boolean =>
  keep.last === 0 && keep.withinDays === 0 && COUNTED.every((unit) => keep[unit] === 0)

/** A point that rules count, with its believed time. */
interface StandingPoint {
  readonly id: string
  readonly timeMs: number
}

/** The ids that the counted rules keep, with the rule; `points` are newest first. */
const counted = (points: readonly StandingPoint[], { keep, timeZone }: PruneRules): Map<string, KeepReason> => {
  const kept = new Map<string, KeepReason>(points.slice(0, keep.last).map(({ id }) => [id, 'last']))
  if (COUNTED.every((unit) => keep[unit] === 0)) return kept
  const periodsOf = periodsIn(timeZone)
  const dated = points.map(({ id, timeMs }) => ({ id, periods: periodsOf(timeMs) }))
  for (const reason of COUNTED) {
    const covered = new Set(dated.filter(({ id }) => kept.has(id)).map(({ periods }) => periods[reason]))
    let left = keep[reason]
    for (const { id, periods } of dated) {
      if (left === 0) break
      if (covered.has(periods[reason])) continue
      covered.add(periods[reason])
      kept.set(id, reason)
      left--
    }
  }
  return kept
}

/** Points by their creation, the last one first. */
const lastCreatedFirst = (a: PlannedPoint, b: PlannedPoint): number => b.seq - a.seq

/** True for a point that was dated by a clock that was ahead, or that lies in the future of a clock that is behind. */
const isFuture = ({ timeMs }: { readonly timeMs: number }, nowMs: number): boolean => timeMs > nowMs

/**
 * The plan for all points of one machine, the one created last first: this order, not a clock, defines "newest". Rules count in
 * the order last, hourly, daily, weekly, monthly, yearly: each keeps the newest point of so many periods in which no earlier rule
 * kept one; periods without points do not count. The newest point without known damage always stays, and so does the newest
 * one with a checkpoint where newer ones have none: the next backup continues it. Two kinds of points are counted by no rule and
 * displace no others: one in which there is nothing to restore, and one from the future, which stays until its time has come.
 * A time that the order of creation contradicts is not believed (`believedTimes`).
 */
export const planRetention = <P extends PlannedPoint>(
  points: readonly P[],
  rules: PruneRules,
  nowMs: number,
): PointPlan<P>[] => {
  const newestFirst = points.toSorted(lastCreatedFirst)
  const { keep } = rules
  const off = isOff(keep)
  const standing = newestFirst.filter((point) => !point.empty && !isFuture(point, nowMs))
  const times = believedTimes(standing.map(({ timeMs }) => timeMs).toReversed()).toReversed()
  const byRule = off
    ? new Map<string, KeepReason>()
    : counted(
        standing.map(({ id }, index) => ({ id, timeMs: times[index]! })),
        rules,
      )
  const believed = new Map(standing.map(({ id }, index) => [id, times[index]!]))
  const withinMs = (times[0] ?? nowMs) - keep.withinDays * DAY_MS
  const lastGood = standing.find(({ damaged }) => !damaged)
  const continued = standing.find(({ checkpoint }) => checkpoint)
  return newestFirst.map((point) => {
    const rule = byRule.get(point.id)
    const future = isFuture(point, nowMs)
    const isWithin = !future && (believed.get(point.id) ?? point.timeMs) >= withinMs
    const reasons: readonly (readonly [KeepReason, boolean])[] = [
      ['no-rules', off],
      ['within', keep.withinDays > 0 && isWithin],
      ['future', future],
      ...protections(point, nowMs),
      ['last-good', point === lastGood],
      ['next-base', point === continued && point !== standing[0]],
    ]
    return {
      point,
      keptBy: [
        ...(rule === undefined ? [] : [rule]),
        ...reasons.filter(([, applies]) => applies).map(([reason]) => reason),
      ],
    }
  })
}

const protections = (point: PlannedPoint, nowMs: number): (readonly [KeepReason, boolean])[] => [
  ['held', point.held],
  ['locked', (point.lockedUntilMs ?? 0) > nowMs],
  ['in-use', point.inUse || (point.usedUntilMs ?? 0) > nowMs],
]

/** Protection that overrides the rules and also a person who names the point. */
export const protectedBy = (point: PlannedPoint, nowMs: number): KeepReason[] =>
  protections(point, nowMs)
    .filter(([, applies]) => applies)
    .map(([reason]) => reason)
