// Durations of plans as people write them, without rounding: `90s`, `15m`, `4h`, `7d`.
const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
] as const

/** Milliseconds in the largest unit of which they are a whole number; 0 is `0s`. */
export const exactDuration = (ms: number): string => {
  if (ms === 0) return '0s'
  const [unit, unitMs] = UNITS.find(([, one]) => ms % one === 0) ?? UNITS[4]
  return `${ms / unitMs}${unit}`
}

/** The milliseconds of such a text; null where it is none. */
export const exactDurationMs = (text: string): number | null => {
  const [, number, unit] = /^(\d{1,12})(ms|[smhd])$/u.exec(text) ?? []
  const unitMs = UNITS.find(([one]) => one === unit)?.[1]
  return number === undefined || unitMs === undefined ? null : Number(number) * unitMs
}
