// The output of either program: lines for people, or with --json one object on standard output, also on failure. JSON.md
// in the folder above describes it.
import { EXIT, exitCode } from './exit.ts'
import type { VarveError } from '../errors.ts'
import { hex } from '../chunk.ts'

/** Fields in milliseconds that are not instants. */
const LENGTHS_OF_TIME: ReadonlySet<string> = new Set([
  'durationMs',
  'frozenMs',
  'tookMs',
  'rpoMs',
  'jitterMs',
  'everyMs',
  'repeatMs',
  'targetMs',
  'lagMs',
  'skewMs',
  'firmwareMs',
  'evidenceMs',
  'bootLimitMs',
])

/** The name of an instant's text field; null for a field that is not an instant. */
const instantName = (field: string): string | null =>
  field.endsWith('Ms') && !LENGTHS_OF_TIME.has(field) ? field.slice(0, -2) : null

/** A value with its own toJSON. */
const hasOwnJson = (value: object): value is { toJSON: () => unknown } =>
  'toJSON' in value && typeof value.toJSON === 'function'

const plainField = ([field, value]: [string, unknown]): [string, unknown][] => {
  const name = instantName(field)
  if (name === null || (typeof value !== 'number' && value !== null)) return [[field, plain(value)]]
  return [
    [name, value === null ? null : new Date(value).toISOString()],
    [field, value],
  ]
}

/** A value as commands print it: with every instant `xMs` also as ISO 8601 in UTC under `x`, bytes in hex. */
export const plain = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return hex(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  if (hasOwnJson(value)) return plain(value.toJSON())
  return Object.fromEntries(Object.entries(value).flatMap(plainField))
}

/** The document of a command: its answer, and its error if it failed. */
export const jsonDocument = (answer: object, error: VarveError | null): string => {
  const failure =
    error === null
      ? {}
      : {
          error: {
            code: error.code,
            message: error.message,
            details: error.details,
            exit: exitCode(error.code),
          },
        }
  return JSON.stringify({ ...(plain(answer) as object), ...failure })
}

/** Whether the arguments of a program ask for JSON, even if they are otherwise wrong. */
export const wantsJson = (args: readonly string[]): boolean => {
  const end = args.indexOf('--')
  return (end < 0 ? args : args.slice(0, end)).includes('--json')
}

/** A text that moves no terminal and reads as it is written: names and reasons come from agents, guests and other users. */
const shown = (text: string): string => text.replaceAll(/[^\P{Cc}\n\t]|\p{Bidi_Control}/gu, '\uFFFD')

/** The streams that a run of a program prints to. */
export interface Streams {
  out(text: string): void
  err(text: string): void
}

/** The output of one run; lines are printed at once, the JSON document at the end. */
export class CommandOutput {
  readonly #program: string
  readonly #streams: Streams
  #json: boolean
  #answer: object = {}
  /** Rows of a list that are printed already; null before one has begun. */
  #listed: number | null = null

  constructor(program: string, args: readonly string[], streams: Streams) {
    this.#program = program
    this.#streams = streams
    this.#json = wantsJson(args)
  }

  /** A line of an answer for people. */
  print(line: string): void {
    this.#streams.out(`${shown(line)}\n`)
  }

  /** A remark about the work, on standard error. */
  remark(sentence: string): void {
    this.#streams.err(`${this.#program}: ${shown(sentence)}\n`)
  }

  /** The answer under --json, in place of one that was given before. */
  answer(value: object): void {
    this.#answer = value
  }

  /** Rows of the one list that is printed as it comes under --json, before the rest of the answer; none begin an empty one. */
  rows(field: string, rows: readonly object[]): void {
    if (!this.#json) return
    if (this.#listed === null) this.#streams.out(`{"${field}":[`)
    this.#listed ??= 0
    for (const row of rows) this.#streams.out(`${this.#listed++ === 0 ? '' : ','}${JSON.stringify(plain(row))}`)
  }

  /** Ends the run with an answer, or with an error; the exit code. `told` where the error has been printed already. */
  end(error: VarveError | null, { told = false } = {}): number {
    const rest = jsonDocument(this.#answer, error)
    const ending = this.#listed === null ? rest : `]${rest === '{}' ? '' : ','}${rest.slice(1)}`
    if (this.#json) this.#streams.out(`${ending}\n`)
    if (error === null) return EXIT.ok
    if (!told) this.remark(`${error.message} (${error.code})`)
    return exitCode(error.code)
  }

  /** Ends the run with help or a version, which are not JSON. */
  explained(): number {
    this.#json = false
    return EXIT.ok
  }
}
