// When the next point has to be there: by target, by schedule, with windows, jitter and usual durations.
import { expect, test } from 'vitest'
import { PLAN_RULES_DEFAULT, type PlanRules } from '../../../protocol/plans.ts'
import { deadlineOf, GRACE_MS, slotAfter, usualMs } from '../../../gateway/plans/deadline.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const at = (text: string): number => Date.parse(`${text}Z`)
const plan = (rules: Partial<PlanRules>): PlanRules => ({ ...PLAN_RULES_DEFAULT, ...rules })
const fresh = (rules: Partial<PlanRules>, last: string | null, more: { jitterMs?: number; usualMs?: number } = {}) => {
  const lastPointMs = last === null ? null : at(last)
  const sinceMs = at('2026-11-01T12:00')
  const deadlineMs = deadlineOf(plan(rules), { lastPointMs, sinceMs, jitterMs: 0, usualMs: 0, ...more })
  return deadlineMs === null ? null : new Date(deadlineMs).toISOString().slice(0, 16)
}

test('a target counts from the newest point, whatever schedule and window say', () => {
  expect(fresh({ rpoMs: 4 * HOUR_MS }, '2026-11-05T01:10')).toBe('2026-11-05T05:10')
  expect(fresh({ rpoMs: 4 * HOUR_MS, schedule: '0 1 * * *', window: 'Sun' }, '2026-11-05T01:10')).toBe(
    '2026-11-05T05:10',
  )
})

test('without a point it counts from when the plan began to protect the machine', () => {
  expect(fresh({ rpoMs: 4 * HOUR_MS }, null)).toBe('2026-11-01T16:00')
  expect(fresh({ schedule: '0 1 * * *' }, null)).toBe('2026-11-02T02:00')
})

test('a schedule alone: the slot behind the newest point, with grace and what backups usually take', () => {
  expect(GRACE_MS).toBe(HOUR_MS)
  expect(fresh({ schedule: '0 1 * * *' }, '2026-11-05T01:00')).toBe('2026-11-06T02:00')
  expect(fresh({ schedule: '0 1 * * *' }, '2026-11-05T00:59')).toBe('2026-11-05T02:00')
  expect(fresh({ schedule: '0 1 * * *' }, '2026-11-05T01:00', { usualMs: 30 * MINUTE_MS })).toBe('2026-11-06T02:30')
})

test('jitter belongs to the slot: a point that was made in it does not fulfil the next one', () => {
  const more = { jitterMs: 2 * HOUR_MS }
  expect(fresh({ schedule: '0 1 * * *' }, '2026-11-05T03:00', more)).toBe('2026-11-06T04:00')
  // the point of before, not yet that of the night
  expect(fresh({ schedule: '0 1 * * *' }, '2026-11-05T02:59', more)).toBe('2026-11-05T04:00')
})

test('a slot in a closed window waits for the opening', () => {
  expect(fresh({ schedule: '0 12 * * *', window: '22:00-06:00' }, '2026-11-05T11:00')).toBe('2026-11-05T23:00')
})

test('nothing is expected of a plan that is off, starts nothing, or never comes', () => {
  expect(fresh({ schedule: '0 1 * * *', enabled: false }, '2026-11-05T01:00')).toBeNull()
  expect(fresh({}, '2026-11-05T01:00')).toBeNull()
  expect(fresh({ schedule: '0 0 30 2 *' }, '2026-11-05T01:00')).toBeNull()
})

test('slots with jitter', () => {
  const daily = plan({ schedule: '0 1 * * *', timeZone: 'Europe/Berlin' })
  expect(slotAfter(daily, HOUR_MS, at('2026-11-05T00:59'))).toBe(at('2026-11-05T01:00'))
  expect(slotAfter(daily, HOUR_MS, at('2026-11-05T01:00'))).toBe(at('2026-11-06T01:00'))
  expect(slotAfter(plan({}), HOUR_MS, 0)).toBeNull()
})

test('what backups usually take is the 90th percentile', () => {
  expect(usualMs([])).toBe(0)
  expect(usualMs([7])).toBe(7)
  expect(usualMs([10, 9, 8, 7, 6, 5, 4, 3, 2, 1])).toBe(9)
  expect(usualMs(Array.from({ length: 20 }, (_, index) => index + 1))).toBe(18)
})
