// When points were made, as far as their times agree with the order in which they were made: a clock that jumped misdates a few,
// and the others reveal which.

/**
 * Indexes of the longest run of times that never goes back; of several the one with the smallest last times, as times from a
 * clock that was ahead are too late.
 */
const longestRun = (timesMs: readonly number[]): number[] => {
  // by length less one: where the run of that length ends whose last time is the least
  const ends: number[] = []
  const before: number[] = []
  for (const [index, timeMs] of timesMs.entries()) {
    let [from, to] = [0, ends.length]
    while (from < to) {
      const middle = (from + to) >> 1
      if (timesMs[ends[middle]!]! <= timeMs) from = middle + 1
      else to = middle
    }
    before.push(ends[from - 1] ?? -1)
    ends[from] = index
  }
  const run: number[] = []
  for (let index = ends.at(-1) ?? -1; index >= 0; index = before[index]!) run.unshift(index)
  return run
}

/**
 * A non-decreasing time for each point: `timesMs` are the recorded times, in the order of creation. The longest run that agrees
 * with this order is believed; a point outside of it was made just before the next one of the run, or after the last.
 */
export const believedTimes = (timesMs: readonly number[]): number[] => {
  const run = longestRun(timesMs)
  let next = 0
  return timesMs.map((_, index) => {
    while (next < run.length - 1 && run[next]! < index) next++
    return timesMs[run[next]!]!
  })
}
