// Work that a stop waits for.
import { within } from '../../protocol/host/within.ts'

export class UnderWay {
  readonly #work = new Set<Promise<unknown>>()

  track<R>(work: Promise<R>): Promise<R> {
    const ended = (): boolean => this.#work.delete(work)
    this.#work.add(work)
    work.then(ended, ended)
    return work
  }

  /** Waits for so many milliseconds at most. */
  async ended(limitMs: number): Promise<void> {
    await within(Promise.allSettled(this.#work), limitMs)
  }
}
