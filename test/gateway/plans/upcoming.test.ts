// The next runs of a plan: slots by its schedule, starts after jitter and within the window, and why there are none.
import { expect, test } from 'vitest'
import { upcoming, whyNone } from '../../../gateway/plans/upcoming.ts'
import { PLAN_RULES_DEFAULT, type Plan } from '../../../protocol/plans.ts'

const HOUR_MS = 3_600_000
const NOW_MS = Date.parse('2026-11-29T12:00Z')

const plan = (rules: Partial<Plan>): Plan => ({ ...PLAN_RULES_DEFAULT, name: 'p', ...rules })

test('slots come in order, each once, and a machine starts behind them by its jitter, always alike', () => {
  const nightly = plan({ schedule: '30 2 * * *', jitterMs: 2 * HOUR_MS })
  const slots = upcoming({ plan: nightly, of: null, afterMs: NOW_MS, count: 3 })
  expect(slots.map(({ slotMs }) => new Date(slotMs).toISOString())).toEqual([
    '2026-11-30T02:30:00.000Z',
    '2026-12-01T02:30:00.000Z',
    '2026-12-02T02:30:00.000Z',
  ])
  expect(slots.every(({ slotMs, startMs }) => slotMs === startMs)).toBe(true)
  const own = upcoming({ plan: nightly, of: { tenant: 't', machine: 'db1' }, afterMs: NOW_MS, count: 3 })
  expect(own.map(({ slotMs }) => slotMs)).toEqual(slots.map(({ slotMs }) => slotMs))
  const jitters = new Set(own.map(({ slotMs, startMs }) => startMs - slotMs))
  expect(jitters.size).toBe(1)
  expect([...jitters][0]).toBeGreaterThan(0)
  expect([...jitters][0]).toBeLessThan(2 * HOUR_MS)
  expect(upcoming({ plan: plan({ rpoMs: HOUR_MS }), of: null, afterMs: NOW_MS, count: 3 })).toEqual([])
})

test('a slot outside of the window starts when it opens', () => {
  const late = plan({ schedule: '0 20 * * *', window: '22:00-06:00' })
  expect(upcoming({ plan: late, of: null, afterMs: NOW_MS, count: 1 })).toEqual([
    { slotMs: NOW_MS + 8 * HOUR_MS, startMs: NOW_MS + 10 * HOUR_MS },
  ])
})

test('why nothing is planned is said', () => {
  const exclusion = { by: 'ann', reason: 'rebuilt', sinceMs: 1, untilMs: NOW_MS }
  const nightly = plan({ schedule: '30 2 * * *' })
  expect(whyNone(nightly, null, NOW_MS)).toBe(null)
  expect(whyNone(nightly, exclusion, NOW_MS)).toBe(null)
  expect(whyNone(nightly, exclusion, NOW_MS - 1)).toBe('it is excluded: rebuilt')
  expect(whyNone(null, null, NOW_MS)).toBe('no plan covers it')
  expect(whyNone({ ...nightly, enabled: false }, null, NOW_MS)).toBe('plan p is disabled')
  expect(whyNone(plan({ rpoMs: HOUR_MS }), null, NOW_MS)).toMatch(/the gateway chooses the time/u)
  expect(whyNone(plan({}), null, NOW_MS)).toMatch(/it starts nothing/u)
})
