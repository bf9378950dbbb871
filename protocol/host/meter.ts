// The progress of long work as a line for people: how much is done, how fast, and the time left.
import { durationText, DAY_MS } from './duration.ts'
import { sizeText } from './size.ts'

/** The rate is over the last so many milliseconds: long enough to be steady, short enough to follow changes. */
const WINDOW_MS = 15_000

/** Shortest time over which a rate is meaningful, in milliseconds. */
const RATE_MIN_MS = 1000

/** A longer time left is not shown, as it would be a guess, in milliseconds. */
const LEFT_MAX_MS = 30 * DAY_MS

interface Sample {
  readonly atMs: number
  readonly done: number
}

/** Tracks the recent progress of one piece of work. */
export class Meter {
  readonly #samples: Sample[] = []

  /** Records the amount done at a time of the monotonic clock; a lower amount than before starts over. */
  add(atMs: number, done: number): void {
    const last = this.#samples.at(-1)
    if (last !== undefined && done < last.done) this.#samples.length = 0
    this.#samples.push({ atMs, done })
    while (this.#samples.length > 2 && this.#samples[1]!.atMs <= atMs - WINDOW_MS) this.#samples.shift()
  }

  /** The amount per second; null while it is not known. */
  get perSecond(): number | null {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (first === undefined || last === undefined || last.atMs - first.atMs < RATE_MIN_MS) return null
    return ((last.done - first.done) * 1000) / (last.atMs - first.atMs)
  }

  /** A line such as `12.4 GiB of 40.0 GiB (31 %), 180 MiB/s, 2 min left`; `total` null where it is not known. */
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
