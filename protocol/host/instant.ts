// Instants as people write and read them.

/** An instant in UTC, to the second, such as `2026-02-03 04:05:06`. */
export const utcText = (ms: number): string => new Date(ms).toISOString().replace('T', ' ').slice(0, 19)

const WRITTEN = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,3})?)?(?: ?(Z|[+-]\d{2}:\d{2}))?)?$/u

/** Milliseconds since 1970 of a text that Date reads; null where it reads none. */
const read = (text: string): number | null => {
  const ms = Date.parse(text)
  return Number.isSafeInteger(ms) && ms >= 0 ? ms : null
}

/** False for 31 February or 24:00, which Date takes for a later day. */
const isInCalendar = (day: string, clock: string): boolean => {
  const ms = read(`${day}T${clock}Z`)
  return ms !== null && new Date(ms).toISOString().startsWith(`${day}T${clock}`)
}

/**
 * Milliseconds since 1970 of a date (which begins at midnight) or a date with a time, such as `2026-11-28 14:00`; null where it is
 * none. What has no zone is this host's time; with `zoned`, a date is UTC's and a time must have a zone.
 */
export const instantMs = (text: string, zoned = false): number | null => {
  const [, day, clock, rest = '', zone] = WRITTEN.exec(text) ?? []
  if (day === undefined || !isInCalendar(day, clock ?? '00:00')) return null
  if (zoned && clock !== undefined && zone === undefined) return null
  return read(`${day}T${clock ?? '00:00'}${rest}${zone ?? (zoned ? 'Z' : '')}`)
}
