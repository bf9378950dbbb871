// The commands of README's first five minutes: its code blocks between comments that only this reads.
//
// A comment `<!-- first-five: WHO … -->` says who runs the blocks after it: `root`, `user`, or `install`, which is the
// user again and can be left out where the programs are there already; `end` ends it.

export type Who = 'root' | 'user' | 'install'

export interface Block {
  readonly who: Who
  /** Line of the document at which it begins, from 1. */
  readonly line: number
  readonly text: string
}

const MARK = /^<!-- first-five: (root|user|install|end)\b/u
const INDENT = '    '

/** The blocks of a document in order. */
export const blocksOf = (document: string): Block[] => {
  const blocks: { who: Who; line: number; lines: string[] }[] = []
  let who: Who | 'end' = 'end'
  let within = false
  for (const [index, line] of document.split('\n').entries()) {
    const mark = MARK.exec(line)?.[1]
    if (mark !== undefined) who = mark as Who | 'end'
    const code = line.startsWith(INDENT)
    if (code && who !== 'end') {
      if (!within) blocks.push({ who, line: index + 1, lines: [] })
      blocks.at(-1)!.lines.push(line.slice(INDENT.length))
    }
    within = code
  }
  return blocks.map(({ who: runner, line, lines }) => ({ who: runner, line, text: lines.join('\n') }))
}

/** One bash script of these blocks, which says where in the document it is and ends with the first command that fails. */
export const scriptOf = (blocks: readonly Block[], document = 'README.md'): string =>
  [
    'set -e',
    ...blocks.map(
      ({ line, text }) => `{ echo; echo "== ${document}, line ${line}"; } 2>/dev/null\nset -x\n${text}\nset +x`,
    ),
    '',
  ].join('\n')

/** One command a line: without continued lines, those in `$(…)` apart. */
const commandLines = (text: string): string[] => {
  const inner: string[] = []
  const outer = text.replaceAll('\\\n', ' ').replaceAll(/\$\(([^()]*)\)/gu, (_, command: string) => {
    inner.push(command)
    return 'X'
  })
  return [...outer.split('\n'), ...inner]
}

const CALL = /(?<![\w/-])(varve-(?:gateway|agent)) ([a-z][^|;>&]*)/u

/** Calls of the two programs in the blocks: the program, and the words that follow. */
export const programCalls = (blocks: readonly Block[]): { program: string; words: string[] }[] =>
  blocks
    .flatMap(({ text }) => commandLines(text))
    .flatMap((line) => {
      const [, program, rest] = CALL.exec(line) ?? []
      return program === undefined || rest === undefined ? [] : [{ program, words: rest.trim().split(/\s+/u) }]
    })
