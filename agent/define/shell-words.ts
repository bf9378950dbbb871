// Words of a command line as the agent's attachment has it, and back: quoted so that a shell takes each as it is. Pure.
import { VarveError } from '../../protocol/errors.ts'

const unfinished = (): VarveError =>
  new VarveError('DATA_DAMAGED', 'command-line of the restore point ends within quotes: restore without --define')

/** The words of a command without variables, substitutions and redirections, which stay what they are. DATA_DAMAGED. */
export const shellWords = (text: string): string[] => {
  const words: string[] = []
  let word: string | null = null
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (char === "'") {
      const end = text.indexOf("'", at + 1)
      if (end < 0) throw unfinished()
      word = (word ?? '') + text.slice(at + 1, end)
      at = end
    } else if (char === '\\') {
      const next = text[++at]
      if (next === undefined) throw unfinished()
      // a line that goes on
      if (next !== '\n') word = (word ?? '') + next
    } else if (/\s/u.test(char)) {
      if (word !== null) words.push(word)
      word = null
    } else word = (word ?? '') + char
  }
  return word === null ? words : [...words, word]
}

/** As a shell takes it back. */
export const shellQuoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
