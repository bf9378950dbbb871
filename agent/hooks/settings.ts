// The keys `hooks` of a `[[machine]]`: commands of this host around the instant of its leases.
import * as v from 'valibot'

/** Most words of a command, and most bytes of one. */
export const WORDS_MAX = 64
const WORD_BYTES_MAX = 4096

/** Longest time that may be given to a command, in seconds, and what it has unless it is said. */
export const HOOK_LIMIT_MAX_S = 600
const HOOK_LIMIT_S = 30

/** A command and its arguments: no shell reads them. */
export const hookWords = v.pipe(
  v.array(v.pipe(v.string(), v.maxBytes(WORD_BYTES_MAX), v.regex(/^[^\0]*$/u, 'a text without NUL'))),
  v.minLength(1),
  v.maxLength(WORDS_MAX),
  v.check(([program = '']) => program.startsWith('/'), 'a command begins with the absolute path of its program'),
)

const limit = v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(HOOK_LIMIT_MAX_S)), HOOK_LIMIT_S)

/** A command of a hook, and its time limit in milliseconds. */
export interface Hook {
  readonly words: readonly string[]
  readonly limitMs: number
}

/** The commands before and after the instant; null for none. */
export interface Hooks {
  readonly before: Hook | null
  readonly after: Hook | null
}

const hookOf = (words: readonly string[] | undefined, seconds: number): Hook | null =>
  words === undefined ? null : { words, limitMs: seconds * 1000 }

export const hooksSchema = v.pipe(
  v.strictObject({
    before: v.optional(hookWords),
    before_limit: limit,
    after: v.optional(hookWords),
    after_limit: limit,
  }),
  v.transform(({ before, before_limit, after, after_limit }): Hooks => ({
    before: hookOf(before, before_limit),
    after: hookOf(after, after_limit),
  })),
)
