// Durations of plans: what is written is read back to the millisecond.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { exactDuration, exactDurationMs } from '../../../gateway/plans/duration.ts'

test('every whole number of milliseconds up to ten years survives', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 3650 * 86_400_000 }), (ms) => {
      expect(exactDurationMs(exactDuration(ms))).toBe(ms)
    }),
  )
})

test('the largest unit is taken, and what is no duration is none', () => {
  expect([0, 1, 90_000, 14_400_000, 5_400_000, 604_800_000].map(exactDuration)).toEqual([
    '0s',
    '1ms',
    '90s',
    '4h',
    '90m',
    '7d',
  ])
  expect(['', '4', 'h', '4 h', '-4h', '4w', '1.5h', '4h30m'].map(exactDurationMs)).toEqual(
    Array.from({ length: 8 }, () => null),
  )
})
