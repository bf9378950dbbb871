// What proves that a machine runs: its guest agent answers, its serial console says something, or a command of the host agrees.
import { createContext, Script } from 'node:vm'
import { DRILL_CHARS_MAX } from '../../protocol/drills.ts'
import { VarveError } from '../../protocol/errors.ts'

export type DrillCheck =
  | { readonly kind: 'guest-agent' }
  | { readonly kind: 'serial'; readonly pattern: RegExp }
  | { readonly kind: 'command'; readonly command: string }

/** Longest time of one look at the console with a pattern, in milliseconds: a guest chooses what it is held against. */
const LOOK_LIMIT_MS = 200

const wrong = (why: string): VarveError => new VarveError('PARAMS_INVALID', why)

/** PARAMS_INVALID for a text that is none. */
export const parseCheck = (text: string): DrillCheck => {
  if (text.length > DRILL_CHARS_MAX || /\p{Cc}/u.test(text))
    throw wrong(`--check takes at most ${DRILL_CHARS_MAX} printable characters`)
  if (text === 'guest-agent') return { kind: 'guest-agent' }
  const [, kind, value = ''] = /^(serial|command):(.+)$/u.exec(text) ?? []
  if (kind === 'command') return { kind, command: value }
  if (kind !== 'serial') throw wrong('--check takes guest-agent, serial:REGEX or command:COMMAND')
  try {
    return { kind, pattern: new RegExp(value, 'mu') }
  } catch (thrown) {
    throw wrong(`--check: ${(thrown as Error).message}`)
  }
}

/** Holds a pattern against the console, for a bounded time. */
export class ConsolePattern {
  readonly #match: Script
  readonly #context: { text: string; pattern: RegExp }

  constructor(pattern: RegExp) {
    this.#context = { text: '', pattern }
    createContext(this.#context)
    this.#match = new Script('(pattern.exec(text) ?? [null])[0]')
  }

  /** What matches first; null for nothing. LIMIT_REACHED where the pattern takes too long. */
  find(text: string): string | null {
    this.#context.text = text
    try {
      return this.#match.runInContext(this.#context, { timeout: LOOK_LIMIT_MS }) as string | null
    } catch (thrown) {
      // an error of the other context is none of this one's
      if (Reflect.get(Object(thrown), 'code') !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw thrown
      throw new VarveError(
        'LIMIT_REACHED',
        `the pattern of --check takes longer than ${LOOK_LIMIT_MS} ms on what the console says: make it simpler (no repetition within a repetition)`,
      )
    }
  }
}
