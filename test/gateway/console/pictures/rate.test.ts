// Rates, their curve and the time left, from what was done at several instants.
import { expect, test } from 'vitest'
import {
  curveOf,
  KEPT_MS,
  leftOf,
  mostOf,
  ratesOf,
  withSample,
  type Sample,
} from '../../../../gateway/console/pictures/rate.ts'

const at = (seconds: number, doneBytes: number, sentBytes = doneBytes / 2): Sample => ({
  atMs: seconds * 1000,
  doneBytes,
  sentBytes,
})

test('samples are kept for a while, once each, and begin anew where less was done', () => {
  const two = withSample(withSample([], at(1, 10)), at(3, 20))
  expect(two).toEqual([at(1, 10), at(3, 20)])
  expect(withSample(two, at(3, 30))).toBe(two)
  expect(withSample(two, at(5, 4))).toEqual([at(5, 4)])
  expect(withSample(two, { ...at(2, 30), atMs: KEPT_MS + 2000 })).toHaveLength(2)
})

test('rates and their curve, whose highest point is the top of the box', () => {
  const rates = ratesOf([at(0, 0), at(2, 200), at(4, 300)])
  expect(rates).toEqual([
    { atMs: 2000, done: 100, sent: 50 },
    { atMs: 4000, done: 50, sent: 25 },
  ])
  const most = mostOf(rates)
  expect(curveOf(rates, 'done', { width: 100, height: 10, most })).toBe('0.0,0.0 100.0,5.0')
  expect(curveOf(rates, 'sent', { width: 100, height: 10, most })).toBe('0.0,5.0 100.0,7.5')
  expect(curveOf(rates.slice(1), 'done', { width: 100, height: 10, most })).toBe('')
  expect(curveOf(ratesOf([at(0, 0), at(2, 0), at(4, 0)]), 'done', { width: 1, height: 1, most: 0 })).toBe('')
})

test('the time left is a range; nothing is said of what stands still, was not seen for long, or jumps', () => {
  const even = Array.from({ length: 30 }, (_, index) => at(index * 2, index * 20))
  expect(leftOf(even, 100)).toEqual({ leastMs: 10_000, mostMs: 10_000 })
  const faster = [...even, at(60, 700), at(62, 800), at(64, 900), at(66, 1000)]
  const left = leftOf(faster, 1000)!
  expect(left.leastMs).toBeLessThan(left.mostMs)
  expect(leftOf(even.slice(0, 4), 100)).toBeNull()
  expect(leftOf([at(0, 5), at(30, 5)], 100)).toBeNull()
  expect(leftOf([at(0, 0), at(100, 1), at(119, 1), at(120, 5000)], 100)).toBeNull()
  expect(leftOf([], 100)).toBeNull()
})
