// Slots that are remembered are those that are computed, in whatever order they are asked for; and what was missed is counted.
import { expect, test } from 'vitest'
import { nextRun } from '../../../gateway/plans/next-run.ts'
import { COUNTED_MAX, passedSlots, Slots } from '../../../gateway/scheduler/slots.ts'
import { Dice } from '../../support/model-dice.ts'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const FROM_MS = Date.UTC(2027, 2, 27)

test('whatever is asked in whatever order', () => {
  const dice = new Dice(3)
  const slots = new Slots()
  for (const schedule of ['30 2 * * *', '*/15 * * * *', 'every 7m', '0 0 29 2 *'])
    for (let ask = 0; ask < 200; ask++) {
      const atMs = FROM_MS + dice.below(20 * DAY_MS) - (dice.chance(0.1) ? 400 * DAY_MS : 0)
      const timeZone = 'Europe/Berlin'
      expect(slots.after({ schedule, timeZone }, atMs)).toBe(nextRun(schedule, timeZone, atMs))
    }
  expect(slots.after({ schedule: '0 0 30 2 *', timeZone: 'UTC' }, FROM_MS)).toBeNull()
})

test('what came between two instants: the newest two, and how many', () => {
  const minutes = (ms: number): number => (Math.floor(ms / MINUTE_MS) + 1) * MINUTE_MS
  const passed = (count: number) => passedSlots(minutes, { fromMs: 0, toMs: count * MINUTE_MS })
  expect(passed(0)).toBeNull()
  expect(passed(1)).toEqual({ newestMs: MINUTE_MS, beforeMs: null, count: 1 })
  expect(passed(3)).toEqual({ newestMs: 3 * MINUTE_MS, beforeMs: 2 * MINUTE_MS, count: 3 })
  // a year of minutes is not walked through
  let asked = 0
  const counted = passedSlots((ms) => (asked++, minutes(ms)), { fromMs: 0, toMs: 366 * DAY_MS })
  expect(counted).toEqual({ newestMs: 366 * DAY_MS, beforeMs: 366 * DAY_MS - MINUTE_MS, count: COUNTED_MAX })
  expect(asked).toBeLessThan(COUNTED_MAX + 20)
})

test('machines that were planned a year ago, a bit apart, cost a few computations each and not a year of minutes', () => {
  const slots = new Slots()
  const every = { schedule: '* * * * *', timeZone: 'UTC' }
  const toMs = FROM_MS + 366 * DAY_MS
  const startedMs = performance.now()
  for (let machine = 0; machine < 300; machine++)
    passedSlots((ms) => slots.after(every, ms), { fromMs: FROM_MS + machine * 1000, toMs })
  // it takes a fifth of a second, and took a minute while each look behind a gap was computed anew
  expect(performance.now() - startedMs).toBeLessThan(10_000)
})
