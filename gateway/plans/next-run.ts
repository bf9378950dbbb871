// When a schedule comes next: a cron expression or `every 4h`, by the clock of a time zone. Pure.
import { Cron } from 'croner'
import { DAY_MS } from '../../protocol/host/duration.ts'
import { remembered } from './remembered.ts'
import { instantOf, offsetAt, setBetween, wallOf, zoneProblem } from './wall-clock.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

/** Longest `every`, in days. */
const EVERY_DAYS_MAX = 366

/** Schedules that are kept as they were understood. */
const PARSED_MAX = 10_000

/** Times of the wall that are tried, as those of days that a zone left out of its calendar never come. */
const TRIES_MAX = 5000

/** How far an hourly schedule is looked for at one offset from UTC, in milliseconds. */
const STRETCH_MS = 2 * DAY_MS

/** Stretches that an hourly schedule is looked for in. */
const STRETCHES_MAX = 1000

/**
 * `times`: at each of its times of the wall; `hours`: in every hour that passes, so also in one that the clock shows twice;
 * `every`: in steps of real time; `days`: at midnight of every so many days.
 */
type Parsed =
  | { readonly kind: 'times' | 'hours'; readonly cron: Cron }
  | { readonly kind: 'every' | 'days'; readonly count: number }

const EVERY = /^every\s+(\d{1,6})\s*(m|h|d)$/u

/** Signs of a cron expression, with names of months and days; croner takes more, which are refused: L, W, # and so on. */
const SIGNS = /^[\d*,/\s-]*$/u
const NAMES =
  /(?<![A-Za-z])(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)(?![A-Za-z])/giu

/** An hour field that names every hour. */
const EVERY_HOUR = /^(?:\*|\*\/1|0-23|0-23\/1)$/u

/** A schedule that comes at all comes within so long: 29 February is eight years apart around 2100. */
const YEARS_MS_MAX = 9 * 366 * DAY_MS

/** Any instant: a cron expression says nothing of years. */
const REFERENCE_MS = Date.UTC(2026, 0, 1)

const MEANT = 'a cron expression of five fields such as "30 1 * * *", or "every 4h" with m, h or d'

const parseEvery = (count: number, unit: string): Parsed | string => {
  const stepMs = count * (unit === 'm' ? MINUTE_MS : unit === 'h' ? HOUR_MS : DAY_MS)
  if (stepMs < MINUTE_MS) return 'a schedule comes once a minute at most: "every 1m" is the shortest'
  if (stepMs > EVERY_DAYS_MAX * DAY_MS) return `"every" is at most ${EVERY_DAYS_MAX} days`
  return unit === 'd' ? { kind: 'days', count } : { kind: 'every', count: stepMs }
}

const parse = (text: string): Parsed | string => {
  const schedule = text.trim()
  const [, count, unit] = EVERY.exec(schedule) ?? []
  if (count !== undefined && unit !== undefined) return parseEvery(Number(count), unit)
  if (/^every\b/iu.test(schedule)) return `"${text}" is not understood: write "every 30m", "every 4h" or "every 1d"`
  const fields = schedule.split(/\s+/u)
  if (fields.length !== 5) return `"${text}" has ${fields.length} fields: write ${MEANT}`
  if (!SIGNS.test(schedule.replaceAll(NAMES, '')))
    return `"${text}" holds signs that are not taken: only numbers, names of months and days, and * , - / are`
  let cron: Cron
  try {
    // as though on UTC's wall: zones are ours to apply, and it never holds a timer
    cron = new Cron(schedule, { timezone: 'UTC', mode: '5-part', paused: true })
  } catch (thrown) {
    const cause = thrown instanceof Error ? thrown.message.replace(/^CronPattern: /u, '') : String(thrown)
    return `"${text}" is not understood (${cause}): write ${MEANT}`
  }
  const first = cron.nextRun(new Date(REFERENCE_MS))
  if (first === null || first.getTime() > REFERENCE_MS + YEARS_MS_MAX)
    return `"${text}" never comes: no such day exists`
  return { kind: EVERY_HOUR.test(fields[1]!) ? 'hours' : 'times', cron }
}

const parsedOf = remembered(parse, PARSED_MAX)

/** What is wrong with a schedule in a zone, as a sentence with the way out; null for nothing. */
export const scheduleProblem = (text: string, zone: string): string | null => {
  const made = parsedOf(text)
  return typeof made === 'string' ? made : zoneProblem(zone)
}

/** Whether a schedule comes in steps of real time: finding them takes no look at the clock of a zone. */
export const isInSteps = (text: string): boolean => {
  const made = parsedOf(text)
  return typeof made !== 'string' && made.kind === 'every'
}

/** The first time of the wall behind one; null for none. */
const wallAfter = (cron: Cron, wallMs: number): number | null => cron.nextRun(new Date(wallMs))?.getTime() ?? null

/** Whether the zone has the day of a time of its wall: some left out a day when they crossed the date line. */
const hasDay = (zone: string, wallMs: number): boolean => {
  const midnightMs = Math.floor(wallMs / DAY_MS) * DAY_MS
  return wallOf(zone, instantOf(zone, midnightMs)) < midnightMs + DAY_MS
}

/** The latest time that the wall of a zone has shown until an instant: it may have been set back since. */
const reachedAt = (zone: string, instantMs: number): number => {
  const setMs = setBetween(zone, instantMs - DAY_MS, instantMs)
  const wallMs = wallOf(zone, instantMs)
  return setMs === null ? wallMs : Math.max(wallMs, wallOf(zone, setMs - 1))
}

const nextTime = (cron: Cron, zone: string, afterMs: number): number | null => {
  let wallMs = wallAfter(cron, reachedAt(zone, afterMs))
  for (let tries = 0; wallMs !== null && tries < TRIES_MAX; tries++) {
    if (hasDay(zone, wallMs)) return instantOf(zone, wallMs)
    wallMs = wallAfter(cron, wallMs)
  }
  return null
}

const nextHour = (cron: Cron, zone: string, afterMs: number): number | null => {
  let fromMs = afterMs
  for (let stretch = 0; stretch < STRETCHES_MAX; stretch++) {
    const wallMs = wallAfter(cron, wallOf(zone, fromMs))
    if (wallMs === null) return null
    const atMs = wallMs - offsetAt(zone, fromMs)
    const untilMs = Math.min(atMs, fromMs + STRETCH_MS)
    const setMs = setBetween(zone, fromMs, untilMs)
    if (setMs !== null) {
      const shownMs = wallOf(zone, setMs)
      if (wallAfter(cron, shownMs - 1) === shownMs) return setMs
      fromMs = setMs
    } else if (untilMs === atMs) return atMs
    // the wall shows nothing of the schedule until then, however it is set on the way
    else fromMs = Math.max(untilMs, atMs - STRETCH_MS)
  }
  return null
}

const nextDay = (count: number, zone: string, afterMs: number): number => {
  const today = Math.floor(wallOf(zone, afterMs) / DAY_MS)
  for (let day = Math.floor(today / count) * count; ; day += count) {
    const instantMs = instantOf(zone, day * DAY_MS)
    if (instantMs > afterMs) return instantMs
  }
}

/**
 * The first instant after `afterMs` at which a schedule comes in a zone; null where it never does, or where it is not a
 * schedule (see scheduleProblem).
 *
 * A cron expression names times of the zone's wall. One that the clock skips comes at the first instant after it, all of one gap
 * once; one that the clock shows twice comes the first time only; of a day that the zone left out, none comes. One for every hour
 * (`*` as its hour) comes whenever the clock shows one of its minutes, so twice in an hour that is shown twice. Where it names
 * both days of the month and of the week, either will do.
 * `every 30m` and `every 4h` count real time from 1970 in UTC, `every 2d` days of the zone's calendar from 1 January 1970, at
 * midnight.
 */
export const nextRun = (schedule: string, zone: string, afterMs: number): number | null => {
  const made = parsedOf(schedule)
  if (typeof made === 'string') return null
  if ('cron' in made)
    return made.kind === 'hours' ? nextHour(made.cron, zone, afterMs) : nextTime(made.cron, zone, afterMs)
  return made.kind === 'days' ? nextDay(made.count, zone, afterMs) : (Math.floor(afterMs / made.count) + 1) * made.count
}
