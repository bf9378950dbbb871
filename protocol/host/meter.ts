// How far long work is, as a line for a person: how much of how much, how fast, and how long it still takes.
import { durationText, DAY_MS } from './duration.ts'
import { sizeText } from './size.ts'

/** The rate is that of the last so many milliseconds: long enough to be steady, short enough to follow a change. */
const WINDOW_MS = 15_000

/** A rate over less time than this says nothing, in milliseconds. */
const RATE_MIN_MS = 1000

/** A longer time left is not told: it would be a guess, in milliseconds. */
const LEFT_MAX_MS = 30 * DAY_MS

interface Sample {
  readonly atMs: number
  readonly done: number
}

/** Keeps the last amounts of one piece of work that goes forward. */
export class Meter {
  readonly #samples: Sample[] = []

  /** Takes how much is done at a time by the clock that nobody sets; an amount below the one before begins anew. */
  add(atMs: number, done: number): void {
    const last = this.#samples.at(-1)
    if (last !== undefined && done < last.done) this.#samples.length = 0
    this.#samples.push({ atMs, done })
    while (this.#samples.length > 2 && this.#samples[1]!.atMs <= atMs - WINDOW_MS) this.#samples.shift()
  }

  /** What is done in a second; null before anything can be said. */
  get perSecond(): number | null {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (first === undefined || last === undefined || last.atMs - first.atMs < RATE_MIN_MS) return null
    return ((last.done - first.done) * 1000) / (last.atMs - first.atMs)
  }

  /** Such as `12.4 GiB of 40.0 GiB (31 %), 180 MiB/s, 2 min left`; `total` null where it is not known. */
  text(done: number, total: number | null, amount: (value: number) => string = sizeText): string {
    const parts = [
      total === null || total === 0 ? amount(done) : `${amount(done)} of ${amount(total)} (${percent(done, total)} %)`,
    ]
    const rate = this.perSecond
    if (rate !== null && rate > 0) {
      parts.push(`${amount(rate)}/s`)
      const leftMs = total === null ? 0 : ((total - done) * 1000) / rate
      if (leftMs >= 1000 && leftMs <= LEFT_MAX_MS) parts.push(`${durationText(leftMs)} left`)
    }
    return parts.join(', ')
  }
}

const percent = (done: number, total: number): number => Math.min(100, Math.floor((done * 100) / total))
