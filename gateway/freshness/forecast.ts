// When something is full if it goes on growing as it did: a pure forecast over daily samples, which noise and single steps do
// not mislead.
import type { Forecast } from '../../protocol/forecast.ts'

/** Days of samples that a forecast looks at. */
export const FORECAST_DAYS = 30

/** Fewest samples, and days between the first and the last, from which anything is told. */
export const FORECAST_SAMPLES_MIN = 7

/** What lies further away is not told: nothing grows alike for ten years. */
export const FORECAST_DAYS_MAX = 3650

/** A change of one day is a step where it is so many times the usual one, and the next largest of its direction. */
const STEP_USUAL = 8
const STEP_NEXT = 3

/** Bytes on a day; days are counted, and some may be missing. */
export interface DailyBytes {
  readonly day: number
  readonly bytes: number
}

const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Daily changes between neighbours, with the days that lie between them. */
interface Change {
  readonly days: number
  readonly bytes: number
}

const changesOf = (samples: readonly DailyBytes[]): Change[] =>
  samples.slice(1).map(({ day, bytes }, index) => ({
    days: day - samples[index]!.day,
    bytes: bytes - samples[index]!.bytes,
  }))

/** The index of the largest change of one direction where nothing else of that direction is like it; null where there is none. */
const stepOf = (changes: readonly Change[], sign: 1 | -1): number | null => {
  const perDay = changes.map(({ days, bytes }) => bytes / days)
  const usual = median(perDay.map((one) => Math.abs(one)))
  const ranked = changes.map(({ bytes }, index) => ({ index, size: bytes * sign })).toSorted((a, b) => b.size - a.size)
  const [largest, next] = ranked
  if (largest === undefined || largest.size <= 0 || largest.size < usual * STEP_USUAL) return null
  return largest.size >= Math.max(0, next?.size ?? 0) * STEP_NEXT ? largest.index : null
}

/** The samples as if what happened once, such as a prune or a new machine, had been a day like others. */
const withoutSteps = (samples: readonly DailyBytes[]): DailyBytes[] => {
  const changes = changesOf(samples)
  const steps = new Set([stepOf(changes, 1), stepOf(changes, -1)])
  const usual = median(changes.filter((_, index) => !steps.has(index)).map(({ days, bytes }) => bytes / days))
  let bytes = samples[0]!.bytes
  return samples.map(({ day }, index) => {
    if (index > 0) {
      const change = changes[index - 1]!
      bytes += steps.has(index - 1) ? usual * change.days : change.bytes
    }
    return { day, bytes }
  })
}

/** The median of the slopes between any two samples (Theil and Sen): half of all pairs must be wrong before it is. */
const slopeOf = (samples: readonly DailyBytes[]): number =>
  median(
    samples.flatMap((from, index) =>
      samples.slice(index + 1).map((to) => (to.bytes - from.bytes) / (to.day - from.day)),
    ),
  )

/** The samples that count: one a day, oldest first, none from the future, none older than FORECAST_DAYS. */
const recent = (samples: readonly DailyBytes[], today: number): DailyBytes[] =>
  [...new Map(samples.map((sample) => [sample.day, sample])).values()]
    .filter(({ day }) => day <= today && day > today - FORECAST_DAYS)
    .sort((a, b) => a.day - b.day)

/**
 * Bytes a day by the last FORECAST_DAYS days, null where there is too little history. Weekly patterns and saw teeth of regular
 * collections are growth as they are on average; one large step either way is left out.
 */
export const growthOf = (samples: readonly DailyBytes[], today: number): number | null => {
  const known = recent(samples, today)
  const enough = known.length >= FORECAST_SAMPLES_MIN && known.at(-1)!.day - known[0]!.day >= FORECAST_SAMPLES_MIN - 1
  return enough ? Math.round(slopeOf(withoutSteps(known))) : null
}

/** When a limit (null: there is none) is reached from what is used, at this growth. */
export const forecastOf = (
  bytesPerDay: number | null,
  { usedBytes, limitBytes }: { readonly usedBytes: number; readonly limitBytes: number | null },
): Forecast => {
  if (limitBytes === null) return { daysLeft: null, bytesPerDay, reason: 'limit' }
  if (usedBytes >= limitBytes) return { daysLeft: 0, bytesPerDay, reason: null }
  if (bytesPerDay === null) return { daysLeft: null, bytesPerDay, reason: 'history' }
  if (bytesPerDay <= 0) return { daysLeft: null, bytesPerDay, reason: 'growth' }
  const daysLeft = Math.floor((limitBytes - usedBytes) / bytesPerDay)
  return daysLeft > FORECAST_DAYS_MAX
    ? { daysLeft: null, bytesPerDay, reason: 'far' }
    : { daysLeft, bytesPerDay, reason: null }
}
