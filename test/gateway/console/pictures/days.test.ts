// Days as marks: the worst of a day wins, no two kinds look alike, and the keys of the calendar stay within it.
import { expect, test } from 'vitest'
import {
  cellBehind,
  DAY_KINDS,
  DAY_MARKS,
  dayBehind,
  dayKind,
  dayRow,
  isDay,
} from '../../../../gateway/console/pictures/days.ts'
import type { DayCell } from '../../../../protocol/coverage-days.ts'

const cell = (rest: Partial<DayCell>): DayCell => ({
  day: 0,
  points: 0,
  failed: 0,
  skipped: 0,
  skipReason: null,
  fullReason: null,
  damaged: 0,
  verified: 0,
  ...rest,
})

test('the worst of a day is its mark', () => {
  const points = { points: 3, verified: 1 }
  const kinds = [
    { ...points, damaged: 1, failed: 1 },
    { failed: 1, skipped: 1 },
    { ...points, failed: 1 },
    { skipped: 1 },
    { ...points, fullReason: 'bitmap-missing' as const },
    points,
    { points: 1, fullReason: 'requested' as const },
    {},
  ].map((rest) => dayKind(cell(rest)))
  expect(kinds).toEqual([...DAY_KINDS])
  expect(dayKind(null)).toBe('nothing')
  // a slot that was skipped is no gap where a point is there
  expect(dayKind(cell({ points: 1, skipped: 2 }))).toBe('good')
})

test('every kind has a shape of its own', () => {
  expect(new Set(DAY_KINDS.map((kind) => DAY_MARKS[kind].path)).size).toBe(DAY_KINDS.length)
})

test('a row has a place for each day', () => {
  const row = dayRow([cell({ day: 1, points: 1 }), cell({ day: 3 }), cell({ day: 9 })], 4)
  expect(row.map((one) => one?.day ?? null)).toEqual([null, 1, null, 3])
})

test('days of the calendar', () => {
  expect([dayBehind('2026-02-27', 2), dayBehind('2026-01-01', -1)]).toEqual(['2026-03-01', '2025-12-31'])
  expect(['2026-02-28', '2026-02-30', '2026-13-01', '26-1-1', '', undefined].map(isDay)).toEqual([
    true,
    ...Array.from({ length: 5 }, () => false),
  ])
})

test('keys lead from day to day and never out of the calendar', () => {
  const size = { rows: 3, days: 5 }
  const from = { row: 1, day: 2 }
  expect(
    ['ArrowUp', 'ArrowDown', 'ArrowLeft', 'ArrowRight', 'Home', 'End', 'PageUp', 'PageDown'].map((key) =>
      Object.values(cellBehind(key, from, size)!),
    ),
  ).toEqual([
    [0, 2],
    [2, 2],
    [1, 1],
    [1, 3],
    [1, 0],
    [1, 4],
    [0, 2],
    [2, 2],
  ])
  expect(cellBehind('ArrowUp', { row: 0, day: 0 }, size)).toEqual({ row: 0, day: 0 })
  expect(cellBehind('Enter', from, size)).toBeNull()
})
