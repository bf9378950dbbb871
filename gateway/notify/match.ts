// Which events a match means, and when what it means may be told. Pure.
import { SEVERITIES, type EventKind, type Severity } from '../../protocol/events.ts'
import type { Match, Mute, Rule } from '../../protocol/notify.ts'
import { fits } from '../plans/covering.ts'
import { quietUntil } from './quiet.ts'

/** What a match looks at. */
export interface Matched {
  readonly kind: EventKind
  readonly severity: Severity
  readonly machine: string | null
  readonly group: string | null
}

const rank = (severity: Severity): number => SEVERITIES.indexOf(severity)

/** The worse of two. */
export const worse = (a: Severity, b: Severity): Severity => (rank(a) >= rank(b) ? a : b)

const fitsOne = (patterns: readonly string[] | undefined, name: string | null): boolean =>
  patterns === undefined || (name !== null && patterns.some((pattern) => fits(pattern, name)))

/** Whether all that the match gives holds; what concerns no machine fits no pattern of machines. */
export const matches = (match: Match, event: Matched): boolean => {
  const { kinds, severity, machines, groups, all, any, not } = match
  return (
    (kinds === undefined || kinds.includes(event.kind)) &&
    (severity === undefined || rank(event.severity) >= rank(severity)) &&
    fitsOne(machines, event.machine) &&
    fitsOne(groups, event.group) &&
    (all === undefined || all.every((part) => matches(part, event))) &&
    (any === undefined || any.some((part) => matches(part, event))) &&
    (not === undefined || !matches(not, event))
  )
}

/** When and how often something may be told to a target. */
export interface Route {
  /** Now, or the end of what keeps it back. */
  readonly atMs: number
  /** A mute keeps it back: what happens meanwhile is not told afterwards. */
  readonly muted: boolean
  readonly repeatMs: number | null
}

interface Rules {
  readonly rules: readonly Rule[]
  readonly mutes: readonly Mute[]
}

/** What one event means to all targets: the rules that match it, and the end of its last mute, null for none. */
interface Meaning {
  readonly rules: readonly Rule[]
  readonly mutedMs: number | null
}

/** Meanings that were found in one round, at one instant: twenty targets ask for the same. */
export type Meanings = Map<string, Meaning>

const meaningOf = ({ rules, mutes }: Rules, event: Matched, nowMs: number, known: Meanings): Meaning => {
  const key = `${event.kind} ${event.severity} ${event.machine ?? ''} ${event.group ?? ''}`
  const found = known.get(key)
  if (found !== undefined) return found
  const ends = mutes.filter((mute) => mute.untilMs > nowMs && matches(mute.match, event)).map(({ untilMs }) => untilMs)
  const mutedMs = ends.length === 0 ? null : Math.max(...ends)
  const meaning = { rules: rules.filter((rule) => matches(rule.match, event)), mutedMs }
  known.set(key, meaning)
  return meaning
}

/**
 * The way of an event to a target: by the rule that lets it through first, unless it is muted. Null where no rule names the
 * target for it.
 */
export const routeOf = (
  all: Rules,
  target: string,
  event: Matched,
  nowMs: number,
  known: Meanings = new Map(),
): Route | null => {
  const { rules, mutedMs } = meaningOf(all, event, nowMs, known)
  const own = rules.filter(({ targets }) => targets.includes(target))
  if (own.length === 0) return null
  const repeats = own.flatMap(({ repeatMs }) => (repeatMs === null ? [] : [repeatMs]))
  const repeatMs = repeats.length === 0 ? null : Math.min(...repeats)
  // what waits for the end of a mute is decided anew then, quiet hours included
  if (mutedMs !== null) return { atMs: mutedMs, muted: true, repeatMs }
  const atMs = Math.min(...own.map(({ quiet }) => (quiet === null ? nowMs : quietUntil(quiet, nowMs))))
  return { atMs, muted: false, repeatMs }
}
