// What the sources say of their constants and fields: the doc comments above them, by where they stand.

/** Doc comments by `constant`, `constant field`, `method section` or `method section field`. */
export type Remarks = ReadonlyMap<string, string>

const BLOCK = /^(?:export )?const (\w+)/u
const METHOD = /^ {2}'(\w+\.\w+)':/u
const SECTION = /^ {2,4}(params|result):/u
const SPREAD = /\.\.\.(\w+)[,\s]/u
const FIELD = /^\s+(\w+)[,:]/u

/** One sentence after the other on one line, without the marks of a comment. */
const textOf = (comment: string): string =>
  comment
    .replaceAll(/^\s*\/?\*+\/?|\*\/\s*$/gmu, '')
    .replaceAll(/\s+/gu, ' ')
    .trim()

/** The remarks of one source. */
export const remarksOf = (source: string): Remarks => {
  const remarks = new Map<string, string>()
  let block = ''
  let section = ''
  let comment = ''
  let inside = false
  for (const line of source.split('\n')) {
    if (inside || line.trimStart().startsWith('/**')) {
      comment = inside ? `${comment}\n${line}` : line
      inside = !line.includes('*/')
      continue
    }
    const named = BLOCK.exec(line)?.[1] ?? METHOD.exec(line)?.[1]
    if (named !== undefined) [block, section] = [named, '']
    section = SECTION.exec(line)?.[1] ?? section
    const field = named ?? FIELD.exec(line)?.[1]
    const at = field === block || field === section ? '' : (field ?? '')
    if (comment !== '' && field !== undefined)
      remarks.set([block, section, at].filter(Boolean).join(' '), textOf(comment))
    // what a method takes from a constant, that constant explains
    const spread = METHOD.test(line) || block.includes('.') ? SPREAD.exec(line)?.[1] : undefined
    if (spread !== undefined && spread !== 'plain') remarks.set(`${block} from`, spread)
    comment = ''
  }
  return remarks
}

/** The remark on a field of a context (a constant, or a method with its section); empty where there is none. */
export const remarkOf = (remarks: Remarks, context: string, field: string): string => {
  const [block = '', section = ''] = context.split(' ')
  const taken = remarks.get(`${block} from`)
  const own = [`${block} ${section}`, ...(taken === undefined ? [] : [`${taken} ${section}`])]
  // fields that lists share, and those of a constant that is spread among others
  const places = field === '' ? own : [...own, ...(taken === undefined ? [] : [taken]), 'page']
  for (const place of places) {
    const found = remarks.get(`${place.trim()} ${field}`.trim())
    if (found !== undefined) return found
  }
  return ''
}
