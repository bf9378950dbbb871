// When a target makes a backup due: in time for what backups take, in the last opening before, and after a pause behind failures.
import { expect, test } from 'vitest'
import { spreadMs, targetDue, type Target } from '../../../gateway/scheduler/target.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const at = (text: string): number => Date.parse(`${text}Z`)

const due = (rest: Partial<Target>): string =>
  new Date(
    targetDue({
      rpoMs: 4 * HOUR_MS,
      window: null,
      timeZone: 'UTC',
      lastPointMs: at('2026-11-05T00:00'),
      sinceMs: at('2026-11-01T00:00'),
      usualMs: 0,
      offsetMs: 0,
      lastDueMs: null,
      lastEndedMs: null,
      ...rest,
    }),
  )
    .toISOString()
    .slice(0, 16)

test('so long before the target that it is met', () => {
  expect(due({})).toBe('2026-11-05T03:36')
  expect(due({ usualMs: 30 * MINUTE_MS, offsetMs: 6 * MINUTE_MS })).toBe('2026-11-05T03:00')
  // backups that take longer than the target do not follow each other at once
  expect(due({ usualMs: 10 * HOUR_MS })).toBe('2026-11-05T01:36')
  expect(due({ rpoMs: 48 * HOUR_MS })).toBe('2026-11-06T23:00')
  expect([spreadMs(4 * HOUR_MS), spreadMs(100 * HOUR_MS)]).toEqual([24 * MINUTE_MS, HOUR_MS])
})

test('the first one comes at once, spread, in the window', () => {
  const first = { lastPointMs: null, offsetMs: 5 * MINUTE_MS }
  expect(due(first)).toBe('2026-11-01T00:05')
  expect(due({ ...first, window: '22:00-23:00' })).toBe('2026-11-01T22:00')
})

test('where the window is closed then, as late as it can be in the opening before', () => {
  const night = { rpoMs: 24 * HOUR_MS, window: '22:00-06:00', usualMs: HOUR_MS }
  expect(due({ ...night, lastPointMs: at('2026-11-05T05:00') })).toBe('2026-11-06T03:00')
  // 20:00 is closed: by six in the morning
  expect(due({ ...night, lastPointMs: at('2026-11-05T22:00') })).toBe('2026-11-06T04:00')
  // no opening before: as soon as there is one
  expect(due({ ...night, rpoMs: 4 * HOUR_MS, lastPointMs: at('2026-11-05T07:00') })).toBe('2026-11-05T22:00')
})

test('a run that failed is followed by the next one after a pause, within the window', () => {
  const failed = { lastDueMs: at('2026-11-05T03:36'), lastEndedMs: at('2026-11-05T04:20') }
  expect(due(failed)).toBe('2026-11-05T05:20')
  expect(due({ ...failed, window: '22:00-05:00' })).toBe('2026-11-05T22:00')
  expect(due({ ...failed, rpoMs: 2 * MINUTE_MS })).toBe('2026-11-05T04:21')
  // the one before was done
  expect(due({ ...failed, lastPointMs: at('2026-11-05T04:00') })).toBe('2026-11-05T07:36')
})
