// Durations as people write them (90s, 15m, 8h, 7d) and read them (40 s, 2 min, 3 h, 5 days).
import { VarveError } from '../errors.ts'

export const DAY_MS = 24 * 60 * 60 * 1000

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: DAY_MS }

/** From how many milliseconds on a duration is shown in a unit. */
const READ_IN: readonly (readonly [fromMs: number, unitMs: number, word: string])[] = [
  [2 * DAY_MS, DAY_MS, 'days'],
  [2 * 3_600_000, 3_600_000, 'h'],
  [2 * 60_000, 60_000, 'min'],
  [0, 1000, 's'],
]

/** Milliseconds of a text such as `8h`; PARAMS_INVALID. */
export const durationMs = (text: string): number => {
  const [, count, unit] = /^(\d{1,6})([smhd])$/u.exec(text) ?? []
  if (count === undefined || unit === undefined)
    throw new VarveError('PARAMS_INVALID', `"${text}" is not a duration such as 90s, 15m, 8h or 7d`)
  return Number(count) * UNIT_MS[unit]!
}

/** A duration as people read it, such as `40 s` or `3 h`; at least 2 of a unit but for seconds. */
export const durationText = (ms: number): string => {
  const [, unitMs, word] = READ_IN.find(([fromMs]) => ms >= fromMs) ?? READ_IN.at(-1)!
  return `${Math.max(0, Math.round(ms / unitMs))} ${word}`
}
