// Cells of days: what is counted on which, at their very bounds, and which full read a cell names.
import { expect, test } from 'vitest'
import { cellsOf, type DayFact } from '../../../gateway/catalog/days.ts'

const BOUNDS = [100, 200, 300, 400]

const point = (timeMs: number, rest: Partial<DayFact & { type: 'point' }> = {}): DayFact => ({
  type: 'point',
  timeMs,
  fullReason: null,
  damaged: false,
  verified: false,
  ...rest,
})

test('a fact belongs to the day that has begun, and none to days that are not asked for', () => {
  const facts = [99, 100, 199, 200, 399, 400].map((timeMs) => point(timeMs))
  expect(cellsOf(facts, BOUNDS).map(({ day, points }) => [day, points])).toEqual([
    [0, 2],
    [1, 1],
    [2, 1],
  ])
})

test('only days with something have a cell, whatever that is', () => {
  const facts: DayFact[] = [
    { type: 'skipped', timeMs: 350, reason: 'window' },
    { type: 'skipped', timeMs: 360, reason: 'missed' },
    { type: 'failed', timeMs: 110 },
    point(120, { damaged: true }),
    point(130, { verified: true }),
  ]
  const none = { points: 0, failed: 0, skipped: 0, skipReason: null, fullReason: null, damaged: 0, verified: 0 }
  expect(cellsOf(facts, BOUNDS)).toEqual([
    { ...none, day: 0, points: 2, failed: 1, damaged: 1, verified: 1 },
    { ...none, day: 2, skipped: 2, skipReason: 'missed' },
  ])
})

test('of full reads the one that nobody asked for is named', () => {
  const named = (...reasons: (DayFact & { type: 'point' })['fullReason'][]) =>
    cellsOf(
      reasons.map((fullReason) => point(150, { fullReason })),
      BOUNDS,
    )[0]!.fullReason
  expect(named(null, 'first', null)).toBe('first')
  expect(named('size-changed', 'requested')).toBe('size-changed')
  expect(named('first', 'bitmap-missing')).toBe('bitmap-missing')
})
