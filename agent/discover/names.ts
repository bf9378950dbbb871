// Names for machines that were found: made fit for the configuration, and each of them once. Pure.
import * as v from 'valibot'
import { name as nameSchema } from '../../protocol/schemas.ts'

/** Longest name of a machine, in characters. */
const NAME_CHARS_MAX = 63

const NAMELESS = 'machine'

/** The nearest name that is allowed. */
export const fitName = (text: string): string => {
  if (v.safeParse(nameSchema, text).success) return text
  const fit = text
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/[^A-Za-z0-9._-]+/gu, '-')
    .replaceAll(/^[._-]+|-+$/gu, '')
    .slice(0, NAME_CHARS_MAX)
  return fit === '' ? NAMELESS : fit
}

/** Gives out names, each once. */
export class Names {
  readonly #taken: Set<string>

  constructor(taken: Iterable<string> = []) {
    this.#taken = new Set(taken)
  }

  /** The nearest allowed name that nobody has: a second `db1` is `db1-2`. */
  take(text: string): string {
    const fit = fitName(text)
    let free = fit
    for (let number = 2; this.#taken.has(free); number++) {
      const tail = `-${number}`
      free = `${fit.slice(0, NAME_CHARS_MAX - tail.length)}${tail}`
    }
    this.#taken.add(free)
    return free
  }
}
