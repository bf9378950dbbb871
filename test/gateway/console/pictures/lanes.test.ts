// Lanes: starts are summed up by bars, and backups run at once for as long as they usually take.
import { expect, test } from 'vitest'
import {
  atOnceOf,
  barsPath,
  LANE_HEIGHT,
  midnightsOf,
  nextOf,
  startsOf,
} from '../../../../gateway/console/pictures/lanes.ts'

const HOUR_MS = 3_600_000
const STEP_MS = HOUR_MS / 4
const FROM_MS = Date.parse('2026-11-29T00:00Z')

const time = { fromMs: FROM_MS, untilMs: FROM_MS + 4 * HOUR_MS, stepMs: STEP_MS, barMs: HOUR_MS }

const at = (steps: number, machines: number) => ({ atMs: FROM_MS + steps * STEP_MS, machines })

test('starts of an hour are one bar', () => {
  expect(startsOf({ starts: [at(0, 1), at(3, 2), at(4, 5), at(16, 9)] }, time)).toEqual([3, 5, 0, 0])
})

test('what starts next is not over', () => {
  const starts = [at(0, 1), at(2, 2), at(9, 3)]
  expect(nextOf({ starts }, FROM_MS)).toBe(starts[0])
  expect(nextOf({ starts }, FROM_MS + 1)).toBe(starts[1])
  expect(nextOf({ starts }, FROM_MS + 10 * STEP_MS)).toBeUndefined()
})

test('backups of all plans overlap as long as they take', () => {
  const plans = [
    { starts: [at(0, 10), at(8, 1)], usualMs: 2 * HOUR_MS },
    { starts: [at(5, 3)], usualMs: null },
  ]
  // ten run for two hours; three more in the second one
  expect(atOnceOf(plans, time)).toEqual([10, 13, 1, 1])
  expect(atOnceOf([{ starts: [at(0, 2)], usualMs: 1 }], time)).toEqual([2, 0, 0, 0])
  expect(atOnceOf([], time)).toEqual([0, 0, 0, 0])
})

test('the highest bar is as high as the lane, and none is too low to be seen', () => {
  expect(barsPath([0, 1, 1000])).toBe(`M1 ${LANE_HEIGHT}v-12h1v12zM2 ${LANE_HEIGHT}v-100h1v100z`)
  expect(barsPath([0, 0])).toBe('')
})

test('days begin at the zone’s midnights, also where clocks are set', () => {
  const days = { fromMs: Date.parse('2026-10-24T12:00Z'), untilMs: Date.parse('2026-10-27T12:00Z') }
  const isos = midnightsOf(days, 'Europe/Berlin').map((found) => new Date(found).toISOString())
  expect(isos).toEqual(['2026-10-24T22:00:00.000Z', '2026-10-25T23:00:00.000Z', '2026-10-26T23:00:00.000Z'])
  expect(midnightsOf(days, 'Asia/Kathmandu')).toHaveLength(3)
})
