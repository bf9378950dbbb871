// When backups may start: texts such as `22:00-06:00`, `Sat-Sun` or `Mon-Fri 20:00-06:00; Sat-Sun`, by a zone's wall. Pure.
import { DAY_MS } from '../../protocol/host/duration.ts'
import { remembered } from './remembered.ts'
import { offsetAt, setBetween, wallOf } from './wall-clock.ts'

const MINUTE_MS = 60_000
const DAY_MINUTES = 24 * 60
const WEEK_MINUTES = 7 * DAY_MINUTES

/** The week begins on Monday; 1 January 1970 was a Thursday. */
const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
const FIRST_DAY = 3

/** Windows that are kept as they were understood. */
const PARSED_MAX = 10_000

/** Stretches between settings of the clock, or of a week, that the next change of a window is looked for in. */
const STRETCHES_MAX = 100
const STRETCH_MS = 2 * DAY_MS

const MEANT = 'write such as "22:00-06:00", "Sat-Sun" or "Mon-Fri 20:00-06:00; Sat-Sun"'

/** For each minute of the week whether it is open. */
type Week = Uint8Array

/** Days of `Mon-Fri` or `Mon,Wed,Sat-Sun`, as numbers from Monday; null where it is not understood. */
const daysOf = (text: string): number[] | null => {
  const found: number[] = []
  for (const part of text.toLowerCase().split(',')) {
    const ends = part.split('-').map((name) => DAYS.indexOf(name as (typeof DAYS)[number]))
    const [from, to = from] = ends
    if (ends.length > 2 || from === undefined || to === undefined || ends.includes(-1)) return null
    // Sat-Mon goes over the end of the week
    for (let day = from; ; day = (day + 1) % 7) {
      found.push(day)
      if (day === to) break
    }
  }
  return found
}

/** Minutes of the day of `HH:MM`; 24:00 is the end of the day. */
const minutesOf = (hour: string, minute: string): number | null => {
  const minutes = Number(hour) * 60 + Number(minute)
  return Number(minute) < 60 && minutes <= DAY_MINUTES ? minutes : null
}

const PART = /^(?<days>[A-Za-z][A-Za-z,-]*)?\s*(?:(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2}))?$/u

/** Opens what one part says; false where it is not understood. */
const open = (week: Week, part: string): boolean => {
  const found = PART.exec(part)
  if (part === '' || found === null) return false
  const days = found.groups!['days'] === undefined ? [0, 1, 2, 3, 4, 5, 6] : daysOf(found.groups!['days'])
  if (days === null) return false
  const [from, to] =
    found[2] === undefined ? [0, DAY_MINUTES] : [minutesOf(found[2], found[3]!), minutesOf(found[4]!, found[5]!)]
  if (from === null || to === null || from === to || from === DAY_MINUTES) return false
  // over midnight: it belongs to the day on which it begins
  const end = to < from ? to + DAY_MINUTES : to
  for (const day of days)
    for (let minute = day * DAY_MINUTES + from; minute < day * DAY_MINUTES + end; minute++)
      week[minute % WEEK_MINUTES] = 1
  return true
}

const parse = (text: string): Week | string => {
  const week = new Uint8Array(WEEK_MINUTES)
  for (const part of text.split(';'))
    if (!open(week, part.trim())) return `"${part.trim()}" of the window "${text}" is not understood: ${MEANT}`
  return week
}

const parsedOf = remembered(parse, PARSED_MAX)

/** What is wrong with a window, as a sentence with the way out; null for nothing. */
export const windowProblem = (text: string): string | null => {
  const made = parsedOf(text)
  return typeof made === 'string' ? made : null
}

/** The minute of the week that the wall shows. */
const minuteOfWeek = (wallMs: number): number =>
  (Math.floor(wallMs / MINUTE_MS) + FIRST_DAY * DAY_MINUTES) % WEEK_MINUTES

const isOpenIn = (week: Week, zone: string, instantMs: number): boolean =>
  week[minuteOfWeek(wallOf(zone, instantMs))] === 1

/** The first instant from `fromMs` on at which the week is `wanted`; null for never. */
const firstThat = (week: Week, zone: string, fromMs: number, wanted: 0 | 1): number | null => {
  if (!week.includes(wanted)) return null
  let atMs = fromMs
  for (let stretch = 0; stretch < STRETCHES_MAX; stretch++) {
    const wallMs = wallOf(zone, atMs)
    const now = minuteOfWeek(wallMs)
    if (week[now] === wanted) return atMs
    let ahead = 1
    while (week[(now + ahead) % WEEK_MINUTES] !== wanted) ahead++
    const changeMs = (Math.floor(wallMs / MINUTE_MS) + ahead) * MINUTE_MS - offsetAt(zone, atMs)
    const untilMs = Math.min(changeMs, atMs + STRETCH_MS)
    // where the clock is set on the way, what it shows then counts
    atMs = setBetween(zone, atMs, untilMs) ?? untilMs
  }
  return null
}

/** Whether backups may start at an instant; always without a window, and with one that is not understood (see windowProblem). */
export const isOpen = (window: string | null, zone: string, instantMs: number): boolean => {
  const week = window === null ? '' : parsedOf(window)
  return typeof week === 'string' || isOpenIn(week, zone, instantMs)
}

/** The first instant from `fromMs` on at which backups may start, `fromMs` itself where they may. */
export const nextOpen = (window: string | null, zone: string, fromMs: number): number => {
  const week = window === null ? '' : parsedOf(window)
  return typeof week === 'string' ? fromMs : (firstThat(week, zone, fromMs, 1) ?? fromMs)
}

/** The first instant from `fromMs` on at which backups may not start, `fromMs` itself where they may not; null for never. */
export const closesAt = (window: string | null, zone: string, fromMs: number): number | null => {
  const week = window === null ? '' : parsedOf(window)
  return typeof week === 'string' ? null : firstThat(week, zone, fromMs, 0)
}

/**
 * The last stretch before `beforeMs`, and not before `fromMs`, in which backups may start, as far as it lies between both; null
 * for none. At most about 100 are looked at, as far back as that goes; `looks` says how many were.
 */
export const lastOpen = (
  window: string | null,
  zone: string,
  { fromMs, beforeMs }: { readonly fromMs: number; readonly beforeMs: number },
): { readonly opensMs: number; readonly closesMs: number; readonly looks: number } | null => {
  let found: { opensMs: number; closesMs: number; looks: number } | null = null
  let atMs = fromMs
  for (let stretch = 0; stretch < STRETCHES_MAX && atMs < beforeMs; stretch++) {
    const opensMs = nextOpen(window, zone, atMs)
    if (opensMs >= beforeMs) break
    const closesMs = Math.min(closesAt(window, zone, opensMs) ?? beforeMs, beforeMs)
    found = { opensMs, closesMs, looks: stretch + 1 }
    atMs = closesMs
  }
  return found
}
