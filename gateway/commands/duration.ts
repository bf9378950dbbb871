// Durations as people write them: 90s, 15m, 8h, 7d.
import { VarveError } from '../../protocol/errors.ts'

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of a text such as `8h`; PARAMS_INVALID. */
export const durationMs = (text: string): number => {
  const [, count, unit] = /^(\d{1,6})([smhd])$/u.exec(text) ?? []
  if (count === undefined || unit === undefined)
    throw new VarveError('PARAMS_INVALID', `"${text}" is not a duration such as 90s, 15m, 8h or 7d`)
  return Number(count) * UNIT_MS[unit]!
}
