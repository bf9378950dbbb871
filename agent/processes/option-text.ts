// QEMU's option syntax, `a=1,b.c=2,flag` with ",," for a comma, or JSON: as flat keys such as `file.filename`.

/** Keys of one option at most; more is not a command line that QEMU would start. */
const KEYS_MAX = 1024

/** Levels of a JSON option that are looked into. */
const LEVELS_MAX = 16

export type Options = ReadonlyMap<string, string>

/** A value of JSON as the other syntax would give it. */
const plain = (value: unknown): string => {
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

const flatten = (value: object, prefix: string, into: Map<string, string>, levels: number): void => {
  for (const [key, below] of Object.entries(value)) {
    if (into.size >= KEYS_MAX) return
    const name = `${prefix}${key}`
    if (typeof below !== 'object' || below === null) into.set(name, plain(below))
    else if (levels > 0) flatten(below as object, `${name}.`, into, levels - 1)
  }
}

const fromJson = (text: string): Options => {
  const found = new Map<string, string>()
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) flatten(value, '', found, LEVELS_MAX)
  } catch {
    // nothing that QEMU would have taken
  }
  return found
}

/** The pieces between single commas; ",," is a comma of the piece. */
const pieces = (text: string): string[] => {
  const found: string[] = []
  let piece = ''
  for (let at = 0; at < text.length && found.length < KEYS_MAX; at++) {
    if (text[at] !== ',') piece += text[at]
    else if (text[at + 1] === ',') {
      piece += ','
      at++
    } else {
      found.push(piece)
      piece = ''
    }
  }
  return [...found, piece]
}

/** The options of a text; a first piece without "=" is the value of `implied`, any other one is on, `noX` turns X off. */
export const parseOptions = (text: string, implied: string | null = null): Options => {
  if (text.startsWith('{')) return fromJson(text)
  const found = new Map<string, string>()
  pieces(text).forEach((piece, index) => {
    const equals = piece.indexOf('=')
    if (equals >= 0) found.set(piece.slice(0, equals), piece.slice(equals + 1))
    else if (index === 0 && implied !== null) found.set(implied, piece)
    else if (piece.startsWith('no')) found.set(piece.slice(2), 'off')
    else if (piece !== '') found.set(piece, 'on')
  })
  return found
}

/** The options below a key: `filename` of `file.filename`. */
export const below = (options: Options, key: string): Options =>
  new Map(
    [...options].flatMap(([name, value]) => (name.startsWith(`${key}.`) ? [[name.slice(key.length + 1), value]] : [])),
  )
