// Finds the word of a list that was probably meant.

/** Most edits between two words that still count as a typing error: a third of the word's characters, at most this many. */
const SLIPS_MAX = 3

/** The edit distance of two words: characters added, removed, changed or swapped with a neighbour. */
const distance = (one: string, other: string): number => {
  const rows = [Array.from({ length: other.length + 1 }, (_, column) => column)]
  for (let row = 1; row <= one.length; row++) {
    const above = rows[row - 1]!
    const line = [row]
    for (let column = 1; column <= other.length; column++) {
      const same = one[row - 1] === other[column - 1] ? 0 : 1
      let least = Math.min(above[column]! + 1, line[column - 1]! + 1, above[column - 1]! + same)
      const swapped = one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1]
      if (row > 1 && column > 1 && swapped) least = Math.min(least, rows[row - 2]![column - 2]! + 1)
      line.push(least)
    }
    rows.push(line)
  }
  return rows[one.length]![other.length]!
}

/** The nearest of some words to one that was typed, ignoring case; null where none is near. */
export const nearest = (typed: string, among: readonly string[]): string | null => {
  const slips = Math.min(SLIPS_MAX, Math.max(1, Math.floor(typed.length / 3)))
  let best: string | null = null
  let bestSlips = slips + 1
  for (const word of among) {
    if (Math.abs(word.length - typed.length) > slips) continue
    const found = distance(typed.toLowerCase(), word.toLowerCase())
    if (found >= bestSlips) continue
    best = word
    bestSlips = found
  }
  return best
}

/** The end of a sentence about an unknown word: what was probably meant, else the known ones. */
export const orElse = (typed: string, among: readonly string[], what: string): string => {
  const meant = nearest(typed, among)
  return meant === null ? `${what}: ${among.join(', ') || 'none'}` : `did you mean "${meant}"?`
}
