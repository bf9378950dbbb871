// Slots of schedules, computed once for all machines of a plan: thousands of machines share the few instants at which it comes.
import { nextRun } from '../plans/next-run.ts'

/** Schedules whose slots are kept, and slots of each. */
const SCHEDULES_MAX = 1000
const SLOTS_MAX = 10_000

/** Stretches of one schedule's slots: those of now, and of when a gateway that was away has stopped. */
const STRETCHES_MAX = 4

/** How many slots behind or before a stretch are computed one by one; what is further away is a stretch of its own. */
const STEPS_MAX = 50

/** How many slots are counted one by one; more are said to be that many or more. */
export const COUNTED_MAX = 100

/** A schedule in its zone. */
export interface Schedule {
  readonly schedule: string
  readonly timeZone: string
}

/** A stretch of slots in order, without a gap from `fromMs` (not included) on. */
interface Known {
  fromMs: number
  slots: number[]
}

export class Slots {
  readonly #known = new Map<string, Known[]>()

  /** The first slot behind an instant; null for none. */
  after({ schedule, timeZone }: Schedule, afterMs: number): number | null {
    const next = (ms: number): number | null => nextRun(schedule, timeZone, ms)
    const stretches = this.#stretchesOf(`${timeZone} ${schedule}`)
    // the ones that begin last come first
    const before = stretches.find(({ fromMs }) => fromMs <= afterMs)
    if (before !== undefined) {
      const found = extended(before, next, afterMs)
      if (found !== undefined) return found
    }
    const behind = stretches.findLast(({ fromMs }) => fromMs > afterMs)
    if (behind !== undefined && prepend(behind, next, afterMs)) return behind.slots[firstBehind(behind.slots, afterMs)]!
    const slot = next(afterMs)
    if (slot === null) return null
    stretches.push({ fromMs: afterMs, slots: [slot] })
    stretches.sort((a, b) => b.fromMs - a.fromMs)
    if (stretches.length > STRETCHES_MAX) stretches.pop()
    return slot
  }

  #stretchesOf(key: string): Known[] {
    let stretches = this.#known.get(key)
    if (stretches === undefined) {
      if (this.#known.size >= SCHEDULES_MAX) this.#known.clear()
      this.#known.set(key, (stretches = []))
    }
    return stretches
  }
}

/** The first slot of a stretch behind an instant, which may be some steps further; undefined where it is too far. */
const extended = (known: Known, next: (ms: number) => number | null, afterMs: number): number | null | undefined => {
  const { slots } = known
  for (let steps = 0; steps < STEPS_MAX; steps++) {
    const last = slots.at(-1) ?? known.fromMs
    if (slots.length > 0 && last > afterMs) return slots[firstBehind(slots, afterMs)]!
    const further = next(last)
    if (further === null) return null
    slots.push(further)
    if (slots.length > SLOTS_MAX) known.fromMs = slots.splice(0, SLOTS_MAX / 2).at(-1)!
  }
  return undefined
}

/** Adds what comes before the known ones; false where that is too much. */
const prepend = (known: Known, next: (ms: number) => number | null, fromMs: number): boolean => {
  const earlier: number[] = []
  for (let at = next(fromMs); at !== null && at <= known.fromMs; at = next(at)) {
    if (earlier.length >= STEPS_MAX) return false
    earlier.push(at)
  }
  known.slots.unshift(...earlier)
  known.fromMs = fromMs
  return true
}

/** The index of the first of ascending numbers that is greater. */
const firstBehind = (numbers: readonly number[], than: number): number => {
  let [low, high] = [0, numbers.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (numbers[middle]! > than) high = middle
    else low = middle + 1
  }
  return low
}

/** The slots behind one instant up to another: the newest two, and how many there are, at most COUNTED_MAX. */
export interface Passed {
  readonly newestMs: number
  readonly beforeMs: number | null
  readonly count: number
}

/** What came between two instants (the first one not, the second one included), by the given look; null for nothing. */
export const passedSlots = (
  after: (ms: number) => number | null,
  { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
): Passed | null => {
  const first = after(fromMs)
  if (first === null || first > toMs) return null
  let count = 1
  let [beforeMs, newestMs]: [number | null, number] = [null, first]
  for (; count < COUNTED_MAX; count++) {
    const next = after(newestMs)
    if (next === null || next > toMs) return { newestMs, beforeMs, count }
    ;[beforeMs, newestMs] = [newestMs, next]
  }
  // a year of minutes is not walked through: the last ones are found from the end
  for (let backMs = 60_000; ; backMs *= 2) {
    const walked: number[] = []
    for (let at = after(Math.max(fromMs, toMs - backMs)); at !== null && at <= toMs; at = after(at)) walked.push(at)
    if (walked.length >= 2) return { newestMs: walked.at(-1)!, beforeMs: walked.at(-2)!, count }
  }
}
