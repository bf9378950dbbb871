// Limits as people write them, in GiB. Pure.

const GIB = 2 ** 30

/** The text of a limit; empty for none. */
export const gibOfBytes = (bytes: number | null): string =>
  bytes === null ? '' : String(Math.round((bytes / GIB) * 1000) / 1000)

/** The bytes of a text; null for none, undefined for what is no number above 0. */
export const bytesOfGib = (text: string): number | null | undefined => {
  const given = text.trim().replace(',', '.')
  if (given === '') return null
  const bytes = /^\d{1,9}(?:\.\d{1,6})?$/u.test(given) ? Math.round(Number(given) * GIB) : 0
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined
}
