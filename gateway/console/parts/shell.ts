// Words of a shell: names and paths are somebody else's, and must stay words wherever a command is pasted. Pure.

/** Texts that every shell takes as they are; a word that begins with `=` or `~` would be something else to some. */
const PLAIN = /^[\w./:@-]+$/u

/** A shell's word that stands for exactly this text. */
export const shellWord = (text: string): string => (PLAIN.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)

/** A command of these words. */
export const shellCommand = (...words: readonly string[]): string => words.map(shellWord).join(' ')
