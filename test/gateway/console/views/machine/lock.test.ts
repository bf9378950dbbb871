// A lock by its days: the day on which it ends, and what has to be typed before a long one.
import { expect, test } from 'vitest'
import { LOCK_DAYS_MAX, lockOf } from '../../../../../gateway/console/views/machine/lock.ts'

const NOW_MS = Date.parse('2026-11-29T23:30:00Z')
const DAY_MS = 86_400_000

test('the day is the one of the zone that is shown', () => {
  expect(lockOf(30, NOW_MS, 'UTC')).toEqual({ untilMs: NOW_MS + 30 * DAY_MS, day: '2026-12-29' })
  expect(lockOf(30, NOW_MS, 'Europe/Berlin')?.day).toBe('2026-12-30')
})

test('a long one has to be typed, and what is no number of days is none', () => {
  expect([90, 91, LOCK_DAYS_MAX].map((days) => lockOf(days, NOW_MS, 'UTC')?.typed)).toEqual([undefined, '91', '36500'])
  for (const days of [0, -1, 1.5, NaN, LOCK_DAYS_MAX + 1]) expect(lockOf(days, NOW_MS, 'UTC')).toBeNull()
})
