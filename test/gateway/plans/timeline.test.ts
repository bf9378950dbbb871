// The timeline of a plan: the same starts as each machine's own next runs tell, held against them for any schedule and window;
// what a closed window holds back, exclusions, and the end of what is told.
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import * as runs from '../../../gateway/plans/next-run.ts'
import * as windows from '../../../gateway/plans/window.ts'
import { timelineOf, type TimedMachine } from '../../../gateway/plans/timeline.ts'
import { upcoming } from '../../../gateway/plans/upcoming.ts'
import { jitterMs } from '../../../gateway/plans/jitter.ts'
import { PLAN_RULES_DEFAULT, type Plan } from '../../../protocol/plans.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const NOW_MS = Date.parse('2026-11-29T12:00Z')

vi.mock('../../../gateway/plans/next-run.ts', { spy: true })
vi.mock('../../../gateway/plans/window.ts', { spy: true })

const plan = (rules: Partial<Plan>): Plan => ({ ...PLAN_RULES_DEFAULT, name: 'p', ...rules })

const told = (rules: Partial<Plan>, machines: readonly TimedMachine[], days = 2, workMax = 4_000_000) =>
  timelineOf({
    plan: plan(rules),
    machines,
    fromMs: NOW_MS,
    untilMs: NOW_MS + days * DAY_MS,
    stepMs: HOUR_MS,
    workMax,
  })

const at = (hours: number, machines: number) => ({ atMs: NOW_MS + hours * HOUR_MS, machines })

test('it has the starts that each machine’s own next runs have, each opening of a window once', () => {
  const days = 14
  fc.assert(
    fc.property(
      fc.record({
        schedule: fc.constantFrom(
          '*/30 * * * *',
          '0 1 * * *',
          '30 2 * * 1-5',
          'every 4h',
          'every 30m',
          '15 */6 * * *',
          'every 2d',
        ),
        window: fc.constantFrom(null, '22:00-06:00', 'Sat-Sun', 'Mon-Fri 20:15-06:05; Sat-Sun', 'Tue 03:00-03:30'),
        timeZone: fc.constantFrom('UTC', 'Europe/Berlin', 'Asia/Kathmandu', 'America/New_York'),
        jitterMs: fc.constantFrom(0, 10 * MINUTE_MS, 3 * HOUR_MS, DAY_MS),
      }),
      // over both days on which clocks are set, too
      fc.constantFrom(NOW_MS, Date.parse('2026-10-20T00:00Z'), Date.parse('2027-03-20T03:00Z')),
      fc.integer({ min: 1, max: 4 }),
      (rules, fromMs, count) => {
        const untilMs = fromMs + days * DAY_MS
        const names = Array.from({ length: count }, (_, index) => ({ tenant: 't', machine: `m${index}` }))
        const machines = names.map((name) => ({
          jitterMs: jitterMs({ ...name, plan: 'p' }, rules.jitterMs),
          fromMs: 0,
        }))
        const stepMs = 15 * MINUTE_MS
        const own = new Map<number, number>()
        for (const of of names) {
          // far enough back that what waits for an opening is among them
          const runs = upcoming({ plan: plan(rules), of, afterMs: fromMs - 9 * DAY_MS, count: 1200 })
          for (const startMs of new Set(runs.map((run) => Math.floor(run.startMs / MINUTE_MS) * MINUTE_MS))) {
            if (startMs < fromMs || startMs >= untilMs) continue
            const step = fromMs + Math.floor((startMs - fromMs) / stepMs) * stepMs
            own.set(step, (own.get(step) ?? 0) + 1)
          }
        }
        const { starts } = timelineOf({ plan: plan(rules), machines, fromMs, untilMs, stepMs, workMax: 9e9 })
        expect(new Map(starts.map((one) => [one.atMs, one.machines]))).toEqual(
          new Map([...own].toSorted(([a], [b]) => a - b)),
        )
      },
    ),
    { numRuns: 60 },
  )
})

test('slots in a closed window are one start as it opens', () => {
  const machines = [
    { jitterMs: 0, fromMs: 0 },
    { jitterMs: 45 * MINUTE_MS, fromMs: 0 },
  ]
  const { starts } = told({ schedule: 'every 1h', window: '22:00-22:30' }, machines, 1)
  expect(starts).toEqual([at(10, 2)])
})

test('an excluded machine starts from the end of its exclusion on', () => {
  const machines = [
    { jitterMs: 0, fromMs: 0 },
    { jitterMs: 0, fromMs: NOW_MS + DAY_MS },
  ]
  expect(told({ schedule: '0 1 * * *' }, machines).starts).toEqual([at(13, 1), at(37, 2)])
})

test('a plan that starts nothing by schedule, or covers no machine, has no starts', () => {
  const none = { starts: [], untilMs: NOW_MS + 2 * DAY_MS, work: 0 }
  expect(told({ rpoMs: HOUR_MS }, [{ jitterMs: 0, fromMs: 0 }])).toEqual(none)
  expect(told({ schedule: 'every 1h' }, [])).toEqual(none)
})

test('what is too much work is told up to an instant, whole until there', () => {
  const machines = Array.from({ length: 1440 }, (_, index) => ({ jitterMs: index * MINUTE_MS, fromMs: 0 }))
  const all = told({ schedule: '* * * * *', jitterMs: DAY_MS }, machines, 14, 9e9)
  const some = told({ schedule: '* * * * *', jitterMs: DAY_MS }, machines, 14, 4_000_000)
  expect(some.work).toBeLessThan(4_010_000)
  expect(some.untilMs).toBeLessThan(NOW_MS + 14 * DAY_MS)
  expect(some.starts.every(({ atMs }) => atMs < some.untilMs)).toBe(true)
  const whole = some.starts.filter(({ atMs }) => atMs + HOUR_MS <= some.untilMs)
  expect(whole).toEqual(all.starts.slice(0, whole.length))
})

test.each([null, '03:00-03:30', 'Tue 03:00-03:30', 'Mon-Fri 20:15-06:05; Sat-Sun'])(
  'looks at the clock of a zone are few, whatever the schedule: window %s',
  (window) => {
    const machines = [0, 5, 20, 55].map((minutes) => ({ jitterMs: minutes * MINUTE_MS, fromMs: 0 }))
    const rules = { schedule: '* * * * *', timeZone: 'America/New_York', window, jitterMs: HOUR_MS }
    vi.clearAllMocks()
    const some = told(rules, machines, 62)
    expect(vi.mocked(runs.nextRun).mock.calls.length).toBeLessThan(600)
    expect(vi.mocked(windows.nextOpen).mock.calls.length).toBeLessThan(170)
    expect(vi.mocked(windows.closesAt).mock.calls.length).toBeLessThan(170)
    expect(some.work).toBeLessThan(4_100_000)
    // the step of the end is not whole
    const until = NOW_MS + Math.floor((some.untilMs - NOW_MS) / HOUR_MS) * HOUR_MS
    expect(until).toBeGreaterThan(NOW_MS + 2 * HOUR_MS)
    const all = told(rules, machines, 4, 9e9)
    const before = (starts: readonly { atMs: number }[]) =>
      starts.filter(({ atMs }) => atMs < Math.min(until, NOW_MS + 4 * DAY_MS))
    expect(before(some.starts)).toEqual(before(all.starts))
  },
)

test('where all wait for a window to open, slots until then are passed over', () => {
  vi.clearAllMocks()
  const rules = { schedule: '* * * * *', timeZone: 'America/New_York', window: 'Tue 03:00-03:01' }
  const { starts, untilMs } = told(rules, [{ jitterMs: 0, fromMs: 0 }], 62)
  expect([starts.length, untilMs]).toEqual([9, NOW_MS + 62 * DAY_MS])
  expect(vi.mocked(runs.nextRun).mock.calls.length).toBeLessThan(60)
})
