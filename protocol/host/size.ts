// Sizes as people write and read them, in binary units: 500G, 1.5 GiB.
import { VarveError } from '../errors.ts'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
const LETTERS = 'KMGTP'
const STEP = 1024

/** Bytes of a text such as `100M`, `500G`, `1.5T` or `4096`, each letter 1024 times the one before; PARAMS_INVALID. */
export const sizeBytes = (text: string): number => {
  const [, count, letter] = /^(\d{1,15}(?:\.\d{1,6})?)(?: ?([KMGTP])(?:iB)?)?$/u.exec(text) ?? []
  const bytes = Number(count) * STEP ** (letter === undefined ? 0 : LETTERS.indexOf(letter) + 1)
  const whole = letter === undefined ? bytes : Math.round(bytes)
  if (!Number.isSafeInteger(whole))
    throw new VarveError('PARAMS_INVALID', `"${text}" is not a size such as 4096, 100M, 500G or 2T`)
  return whole
}

/** A size as people read it, such as `1.5 GiB`. */
export const sizeText = (bytes: number): string => {
  let value = bytes
  let unit = 0
  while (value >= STEP && unit < UNITS.length - 1) {
    value /= STEP
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`
}
