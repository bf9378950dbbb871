// Turns for looking at files of the host: what hangs, as a file on a dead server does, holds one thread of the process.
import { Queue } from '../../protocol/host/limiter.ts'
import { within } from '../../protocol/host/within.ts'

/** How long one look at a file may take, in milliseconds. */
export const FILE_LIMIT_MS = 15_000

/** Why there is no answer, as a sentence without a subject. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

const secondsOf = (ms: number): string => `${Math.round(ms / 100) / 10} s`

export class FileTurns {
  readonly #turns = new Queue()
  /** What was asked for and has not answered yet. */
  #stuck: string | null = null

  /**
   * One look at a time, in order. NoAnswer when it takes longer than `limitMs`, and from then on for all others until it has
   * ended: the threads that open files are few, and each look could take another one for good.
   */
  ask<T>(what: string, look: () => Promise<T>, limitMs: number): Promise<T> {
    return this.#turns.run(async () => {
      if (this.#stuck !== null) throw new NoAnswer(`${this.#stuck} was asked for before it and has not answered yet`)
      const looking = look()
      const found = await within(
        looking.then((value) => ({ value })),
        limitMs,
      )
      if (found !== null) return found.value
      this.#stuck = what
      const free = (): void => void (this.#stuck = null)
      looking.then(free, free)
      throw new NoAnswer(`it did not answer within ${secondsOf(limitMs)}`)
    })
  }
}

/** Those of this process. */
export const fileTurns = new FileTurns()
