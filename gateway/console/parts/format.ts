// Sizes, durations, ages and instants in words. Pure: the time of day and the zone are given.

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** Bytes with three significant digits, such as `4.02 GiB`. */
export const bytesText = (bytes: number): string => {
  let [value, unit] = [bytes, 0]
  while (value >= 1024 && unit < BINARY.length - 1) [value, unit] = [value / 1024, unit + 1]
  // 1023.6 KiB would be rounded to four digits
  if (unit > 0 && value >= 999.5 && unit < BINARY.length - 1) [value, unit] = [value / 1024, unit + 1]
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2
  return `${value.toFixed(digits)} ${BINARY[unit]}`
}

export const rateText = (bytesPerSecond: number): string => `${bytesText(bytesPerSecond)}/s`

export const countText = (count: number): string => count.toLocaleString('en')

export const SECOND_MS = 1000
export const MINUTE_MS = 60 * SECOND_MS
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS

/** A duration by its two largest units, such as `3 h 12 min`. */
export const durationText = (ms: number): string => {
  const whole = Math.max(0, ms)
  if (whole < SECOND_MS) return `${Math.round(whole)} ms`
  if (whole < MINUTE_MS) return `${Math.floor(whole / SECOND_MS)} s`
  const pairs = [
    [DAY_MS, 'd', HOUR_MS, 'h'],
    [HOUR_MS, 'h', MINUTE_MS, 'min'],
    [MINUTE_MS, 'min', SECOND_MS, 's'],
  ] as const
  const [large, largeName, small, smallName] = pairs.find(([unit]) => whole >= unit)!
  const [count, rest] = [Math.floor(whole / large), Math.floor((whole % large) / small)]
  // beyond a fortnight hours say nothing
  return rest === 0 || count >= 14 ? `${count} ${largeName}` : `${count} ${largeName} ${rest} ${smallName}`
}

/** An instant as an age or a wait, such as `3 h ago` and `in 20 min`; `just now` within a minute. */
export const agoText = (timeMs: number, nowMs: number): string => {
  const ms = nowMs - timeMs
  if (Math.abs(ms) < MINUTE_MS) return ms >= 0 ? 'just now' : 'in less than a minute'
  return ms > 0 ? `${durationText(ms)} ago` : `in ${durationText(-ms)}`
}

/** An instant as date and time of day in a zone, such as `2026-11-29 02:30`. */
export const timeText = (timeMs: number, zone: string): string =>
  new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', timeStyle: 'short', timeZone: zone }).format(timeMs)

/** The same with the zone's name, for sentences that stand alone. */
export const zonedText = (timeMs: number, zone: string): string => `${timeText(timeMs, zone)} (${zone})`

/** What turns writing around or hides it: who looks must not be misled by a reason that somebody else wrote. */
const MISLEADING = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\u200b\u2060\ufeff]/gu

/** A text from elsewhere as it is shown: with a mark in place of each character that turns writing around or is not seen. */
export const plainText = (text: string): string => text.replace(MISLEADING, '\ufffd')

/** The day of an instant in a zone, such as `2026-11-29`. */
export const dayText = (timeMs: number, zone: string): string => timeText(timeMs, zone).slice(0, 10)

export const percentText = (share: number): string => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`
