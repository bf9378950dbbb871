// Which times the order of creation lets stand: clocks that jump, worked out by hand, and what holds for any times.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { believedTimes } from '../../../gateway/maintenance/believed-times.ts'

test.each([
  ['no clock was set', [1, 2, 2, 5], [1, 2, 2, 5]],
  ['none', [], []],
  ['one', [7], [7]],
  ['once ahead', [1, 90, 3, 4], [1, 3, 3, 4]],
  ['ahead for a while, with more before and after', [1, 2, 90, 91, 3, 4], [1, 2, 3, 3, 3, 4]],
  ['once back', [50, 51, 52, 3, 53, 54], [50, 51, 52, 53, 53, 54]],
  ['back, and the last one', [50, 51, 52, 3], [50, 51, 52, 52]],
  ['ahead, and the last one', [1, 2, 3, 90], [1, 2, 3, 90]],
  ['both, of two that contradict each other the later one', [90, 3], [3, 3]],
  ['back and ahead', [49, 50, 3, 51, 99, 52], [49, 50, 51, 51, 52, 52]],
])('%s', (_, said, believed) => {
  expect(believedTimes(said)).toEqual(believed)
})

const anyTimes = fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 40 })

test('they never go back, are all among those said, and leave what agrees as it is', () => {
  fc.assert(
    fc.property(anyTimes, (said) => {
      const believed = believedTimes(said)
      expect(believed).toEqual(believed.toSorted((a, b) => a - b))
      expect(believed).toHaveLength(said.length)
      for (const timeMs of believed) expect(said).toContain(timeMs)
      const sorted = said.toSorted((a, b) => a - b)
      expect(believedTimes(sorted)).toEqual(sorted)
    }),
  )
})

/** The longest run, found by looking at all. */
const longest = (said: readonly number[]): number => {
  const best = said.map(() => 1)
  for (const [index, timeMs] of said.entries())
    for (let before = 0; before < index; before++)
      if (said[before]! <= timeMs) best[index] = Math.max(best[index]!, best[before]! + 1)
  return Math.max(0, ...best)
}

test('no more are contradicted than must be', () => {
  fc.assert(
    fc.property(anyTimes, (said) => {
      const believed = believedTimes(said)
      const kept = said.filter((timeMs, index) => believed[index] === timeMs).length
      expect(kept).toBeGreaterThanOrEqual(longest(said))
    }),
  )
})
