// Patterns of names: `*` is any text, `?` is one character, everything else is itself. Pure.

/** Whether a whole name fits a pattern; takes time in proportion to their lengths multiplied, whatever they are. */
export const fits = (name: string, pattern: string): boolean => {
  const [text, parts] = [Array.from(name), Array.from(pattern)]
  let at = 0
  // where to go on when what follows the last star does not fit
  let star = -1
  let from = 0
  for (let read = 0; read < text.length;) {
    if (parts[at] === '*') {
      star = at++
      from = read
    } else if (at < parts.length && (parts[at] === '?' || parts[at] === text[read])) {
      at++
      read++
    } else if (star >= 0) {
      at = star + 1
      read = ++from
    } else return false
  }
  while (parts[at] === '*') at++
  return at === parts.length
}

/** Whether a name fits one of the patterns. */
export const fitsOne = (name: string, patterns: readonly string[]): boolean =>
  patterns.some((pattern) => fits(name, pattern))
