// When points were made, as far as their times agree with the order in which they were made: a clock that jumped misdates a few,
// and the others show which.

/**
 * Indexes of the longest run of times that never goes back; of several the one whose last times are the least, as what a clock
 * that was ahead said is too late.
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
 * A time for each point, which never goes back: `timesMs` are what clocks said, in the order of creation. The longest run that
 * agrees with this order is believed; a point outside of it was made just before the next one of the run, or after the last.
 */
export const believedTimes = (timesMs: readonly number[]): number[] => {
  const run = longestRun(timesMs)
  let next = 0
  return timesMs.map((_, index) => {
    while (next < run.length - 1 && run[next]! < index) next++
    return timesMs[run[next]!]!
  })
}
