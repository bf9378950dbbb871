// The end of a "there is no …" message: what was probably meant, else what there is.
import { nearest } from '../../protocol/nearest.ts'

/** Names that one sentence lists. */
const LISTED_MAX = 5

/** A sentence, and another way out behind it. */
export const andElse = (sentence: string, way: string): string =>
  sentence.endsWith('?') ? `${sentence} ${way.charAt(0).toUpperCase()}${way.slice(1)}` : `${sentence}; ${way}`

/** Empty if there is nothing of the kind. */
export const meant = (typed: string, names: readonly string[]): string => {
  if (names.length === 0) return ''
  const near = nearest(typed, names)
  if (near !== null) return `; did you mean "${near}"?`
  const more = names.length > LISTED_MAX ? ` and ${names.length - LISTED_MAX} more` : ''
  return `; there is ${names
    .slice(0, LISTED_MAX)
    .map((name) => `"${name}"`)
    .join(', ')}${more}`
}
