// Days as instants: today and others in a zone, days on which clocks are set, days that no calendar has.
import { expect, test } from 'vitest'
import { daysOf } from '../../../gateway/plans/days.ts'
import { codeOf } from '../auth/test-authority.ts'

const HOUR_MS = 3_600_000
const NOW_MS = Date.UTC(2026, 10, 29, 23, 30)

test('the last day is today by the clock of the zone', () => {
  const utc = daysOf({ days: 2, untilDay: null, zone: 'UTC' }, NOW_MS)
  expect(utc).toEqual({
    firstDay: '2026-11-28',
    bounds: [28, 29, 30].map((day) => Date.UTC(2026, 10, day)),
  })
  // half past midnight there
  const berlin = daysOf({ days: 2, untilDay: null, zone: 'Europe/Berlin' }, NOW_MS)
  expect([berlin.firstDay, berlin.bounds[0]]).toEqual(['2026-11-29', Date.UTC(2026, 10, 28, 23)])
})

test('a day on which clocks are set is shorter or longer', () => {
  const hours = (untilDay: string, zone: string): number[] => {
    const { bounds } = daysOf({ days: 3, untilDay, zone }, NOW_MS)
    return bounds.slice(1).map((bound, index) => (bound - bounds[index]!) / HOUR_MS)
  }
  expect(hours('2026-03-30', 'Europe/Berlin')).toEqual([24, 23, 24])
  expect(hours('2026-10-26', 'Europe/Berlin')).toEqual([24, 25, 24])
  // midnight itself is skipped there
  expect(hours('2026-09-07', 'America/Santiago')).toEqual([24, 23, 24])
})

test('a day that no calendar has, and a zone that nobody knows, are refused', async () => {
  for (const [untilDay, zone] of [
    ['2026-02-30', 'UTC'],
    ['2026-13-01', 'UTC'],
    [null, 'Mars/Base'],
  ] as const)
    expect(await codeOf(Promise.resolve().then(() => daysOf({ days: 1, untilDay, zone }, NOW_MS)))).toBe(
      'PARAMS_INVALID',
    )
})
