// Why a value does not fit a schema, as one sentence for people: where, what is expected, and what was found.
import type * as v from 'valibot'
import { orElse } from './nearest.ts'

/** A longer text is not quoted, as it may be a secret; in characters. */
const QUOTED_CHARS_MAX = 40

type Issue = v.BaseIssue<unknown>

interface Words {
  /** A TOML file's: tables are `[[name]] 2`, counted from 1; otherwise paths are as in `disks[1].name`. */
  readonly toml: boolean
}

interface Step {
  readonly type: string
  readonly key: unknown
  readonly value: unknown
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const came = (value: unknown, { toml }: Words): string => {
  if (typeof value === 'string')
    return value.length > QUOTED_CHARS_MAX ? `a text of ${value.length} characters` : JSON.stringify(value)
  if (value === undefined) return 'nothing'
  if (value === null) return 'nil'
  if (Array.isArray(value)) return value.length === 1 ? 'a list of one' : `a list of ${value.length}`
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (value instanceof Date) return 'a time'
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return `${value}`
  return toml ? 'a table' : 'a map'
}

/** Names of valibot's types and actions, by what they ask for. */
const EXPECTED: Readonly<Record<string, (issue: Issue) => string>> = {
  string: () => 'a text',
  number: () => 'a number',
  boolean: () => 'true or false',
  array: () => 'a list',
  tuple: () => 'a list',
  integer: () => 'a whole number',
  safe_integer: () => 'a whole number',
  uuid: () => 'an id',
  min_value: ({ requirement }) => `at least ${String(requirement)}`,
  max_value: ({ requirement }) => `at most ${String(requirement)}`,
  min_length: ({ input, requirement }) => `at least ${String(requirement)} ${unitOf(input)}`,
  max_length: ({ input, requirement }) => `at most ${String(requirement)} ${unitOf(input)}`,
}

const unitOf = (input: unknown): string => (typeof input === 'string' ? 'characters long' : 'entries long')

const WORD: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  boolean: 'true or false',
  Array: 'a list',
  null: 'nil',
}

/** What valibot writes as `("a" | "b")`. */
const oneOf = (expected: string): string => {
  const words = expected.replace(/^\(|\)$/gu, '').split(' | ')
  const named = [...new Set(words)].map((word) => WORD[word] ?? word)
  return named.length < 2 ? named.join('') : `${named.slice(0, -1).join(', ')} or ${named.at(-1)}`
}

const belongs = (issue: Issue, { toml }: Words): string => {
  if (['object', 'strict_object', 'loose_object', 'record'].includes(issue.type)) return toml ? 'a table' : 'a map'
  const words = EXPECTED[issue.type]
  if (words !== undefined) return words(issue)
  return issue.expected === null ? 'another value' : oneOf(issue.expected)
}

/** Whether the message is valibot's default. */
const isDefault = ({ message }: Issue): boolean => /^Invalid [\w -]+: (?:Expected|Received)/u.test(message)

const stepsOf = (issue: Issue): readonly Step[] => issue.path ?? []

/** What came, but for secrets, which are never quoted. */
const cameAt = (steps: readonly Step[], value: unknown, words: Words): string =>
  typeof value === 'string' && steps.some(({ key }) => key === 'secrets')
    ? `a text of ${value.length} characters`
    : came(value, words)

/** A path in the notation that people use. */
const placeOf = (steps: readonly Step[], words: Words): string => {
  let place = ''
  for (const [index, { type, key, value }] of steps.entries()) {
    const next = steps[index + 1]
    if (type !== 'array') {
      const table = words.toml && next?.type === 'array' && isMap(next.value)
      const word = table ? `[[${String(key)}]]` : String(key)
      place += place === '' ? word : `${words.toml && place.includes(']] ') ? ', ' : '.'}${word}`
    } else if (words.toml && isMap(value)) {
      const name = typeof value['name'] === 'string' ? ` (${came(value['name'], words)})` : ''
      place += ` ${Number(key) + 1}${name}`
    } else place += words.toml ? `, entry ${Number(key) + 1}` : `[${String(key)}]`
  }
  return place
}

/** Keys that a schema knows at the end of a path. */
const keysAt = (schema: unknown, steps: readonly Step[]): string[] => {
  let at = schema as Readonly<Record<string, unknown>> | undefined
  const unwrap = (): void => {
    while (at !== undefined && 'wrapped' in at) at = at['wrapped'] as typeof at
  }
  unwrap()
  for (const { type, key, value: input } of steps) {
    const entries = at?.['entries'] as Readonly<Record<string, unknown>> | undefined
    const value = at?.['type'] === 'record' ? at['value'] : entries?.[String(key)]
    at = (type === 'array' ? at?.['item'] : value) as typeof at
    unwrap()
    // a schema chosen by the value
    const getter = at?.['getter'] as ((input: unknown) => typeof at) | undefined
    at = getter?.(input) ?? at
  }
  return Object.keys((at?.['entries'] as object | undefined) ?? {})
}

const isUnknownKey = (issue: Issue): boolean => issue.type === 'strict_object' && issue.expected === 'never'

const isMissingKey = (issue: Issue): boolean =>
  issue.received === 'undefined' && ['object', 'strict_object'].includes(issue.type) && stepsOf(issue).length > 0

/** The most helpful issue of a union: that of the shape whose first field, its kind, matches. */
const insideUnion = (issue: Issue): { readonly inner: Issue | null; readonly kinds: readonly string[] } => {
  const parts = issue.issues ?? []
  const isKind = (part: Issue): boolean => part.type === 'literal' && stepsOf(part).length === 1
  const kinds = parts.filter(isKind).map((part) => part.expected ?? '')
  const inner = parts.find((part) => !isKind(part) && stepsOf(part).length > 0)
  return { inner: inner ?? null, kinds }
}

const sentence = (schema: unknown, issue: Issue, before: readonly Step[], words: Words): string => {
  const steps = [...before, ...stepsOf(issue)]
  const place = placeOf(steps, words)
  const parent = placeOf(steps.slice(0, -1), words)
  const inParent = parent === '' ? '' : ` in ${parent}`
  const key = String(steps.at(-1)?.key)
  if (isUnknownKey(issue)) {
    const known = keysAt(schema, steps.slice(0, -1))
    return `unknown key ${came(key, words)}${inParent}; ${orElse(key, known, 'known are')}`
  }
  if (isMissingKey(issue)) return `${came(key, words)} is missing${inParent}`
  const at = place === '' ? '' : `${place}: `
  if (issue.type === 'union') {
    const { inner, kinds } = insideUnion(issue)
    if (inner !== null) return sentence(undefined, inner, steps, words)
    if (kinds.length > 0 && Array.isArray(issue.input))
      return `${at}begins with ${came(issue.input[0], words)}, must begin with ${oneOf(kinds.join(' | '))}`
  }
  if (issue.kind !== 'schema' && issue.type === 'check' && isDefault(issue)) return `${at}is not valid`
  if (isDefault(issue)) return `${at}must be ${belongs(issue, words)}, not ${cameAt(steps, issue.input, words)}`
  if (/^an? /u.test(issue.message)) return `${at}must be ${issue.message}, not ${cameAt(steps, issue.input, words)}`
  return `${at}${issue.message} (it is ${cameAt(steps, issue.input, words)})`
}

/**
 * Why a value does not fit: one sentence without a full stop. `issues` are those of `v.safeParse(schema, …)`; a key
 * that nobody knows comes first, as it explains the one that is missing. A text of more than 40 characters, and one below
 * `secrets`, is never quoted.
 */
export const misfit = (
  schema: v.GenericSchema,
  issues: readonly v.BaseIssue<unknown>[],
  words: Words = { toml: false },
): string => {
  const issue = issues.find(isUnknownKey) ?? issues[0]
  return issue === undefined ? 'it does not fit' : sentence(schema, issue, [], words)
}
