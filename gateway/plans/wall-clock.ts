// Clocks on the wall of a time zone: what they show at an instant, when they are set, and when they first show a time. Pure.
import { isTimeZone } from '../../protocol/retention.ts'
import { remembered } from './remembered.ts'

const HOUR_MS = 3_600_000

/** No zone was ever further from UTC than this, in milliseconds: 15:13:42 in Alaska, until 1867. */
const OFFSET_MS_MAX = 16 * HOUR_MS

/** Zones whose formats are kept. */
const FORMATS_MAX = 1000

/** A zone that this program's data does not know is taken for UTC, so that plans go on working; see zoneProblem. */
const formatOf = remembered(
  (zone) =>
    new Intl.DateTimeFormat('en-US-u-ca-gregory-nu-latn', {
      timeZone: isTimeZone(zone) ? zone : 'UTC',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    }),
  FORMATS_MAX,
)

/** What is wrong with a zone, as a sentence; null for one that this program's data knows. */
export const zoneProblem = (zone: string): string | null =>
  isTimeZone(zone)
    ? null
    : `"${zone}" is not a time zone that this program knows, so UTC is taken for it: name one such as Europe/Berlin`

/** What the clock of a zone shows at an instant, as the milliseconds of the instant at which UTC shows the same. */
export const wallOf = (zone: string, instantMs: number): number => {
  const shown = /^(\d+)\/(\d+)\/(\d+), (\d+):(\d+):(\d+)$/u.exec(formatOf(zone).format(instantMs))!
  const [month, day, year, hour, minute, second] = shown.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  return Date.UTC(year, month - 1, day, hour, minute, second) + (((instantMs % 1000) + 1000) % 1000)
}

/** How far the clock of a zone is ahead of UTC at an instant, in milliseconds. */
export const offsetAt = (zone: string, instantMs: number): number => wallOf(zone, instantMs) - instantMs

/**
 * The first instant after `fromMs`, not later than `toMs`, at which the clock is set; null for none. Both are at most some
 * days apart: clocks that are set there and back in between go unnoticed.
 */
export const setBetween = (zone: string, fromMs: number, toMs: number): number | null => {
  const before = offsetAt(zone, fromMs)
  if (offsetAt(zone, toMs) === before) return null
  let [low, high] = [fromMs, toMs]
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (offsetAt(zone, middle) === before) low = middle
    else high = middle
  }
  return high
}

/**
 * The first instant at which the clock of a zone has come to a time: one that the clock skips is reached when it is set, and
 * one that it shows twice is reached the first time.
 */
export const instantOf = (zone: string, wallMs: number): number => {
  const [fromMs, toMs] = [wallMs - OFFSET_MS_MAX, wallMs + OFFSET_MS_MAX]
  const setMs = setBetween(zone, fromMs, toMs)
  const atMs = wallMs - offsetAt(zone, fromMs)
  return setMs === null || atMs < setMs ? atMs : Math.max(setMs, wallMs - offsetAt(zone, toMs))
}
