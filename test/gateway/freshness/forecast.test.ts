// Forecasts over histories as they are: steady, noisy, with a prune, with saw teeth, with gaps, too short.
import { describe, expect, test } from 'vitest'
import { forecastOf, growthOf, type DailyBytes } from '../../../gateway/freshness/forecast.ts'
import { Dice } from '../../support/model-dice.ts'

const GIB = 2 ** 30
const TODAY = 20_000

/** Numbers from 0 to 1 that a seed repeats. */
const random = (seed: number): (() => number) => {
  const dice = new Dice(seed)
  return () => dice.below(1_000_000) / 1_000_000
}

/** A history of so many days that ends today: what was added on each. */
const history = (days: number, change: (index: number) => number, startBytes = 100 * GIB): DailyBytes[] => {
  let bytes = startBytes
  return Array.from({ length: days }, (_, index) => ({
    day: TODAY - days + 1 + index,
    bytes: (bytes += change(index)),
  }))
}

const of = (samples: readonly DailyBytes[], limitBytes: number | null = 1000 * GIB) =>
  forecastOf(growthOf(samples, TODAY), { usedBytes: samples.at(-1)?.bytes ?? 0, limitBytes })

describe('growth', () => {
  test('that is steady leads to the limit on its day', () => {
    const samples = history(30, () => GIB)
    expect(of(samples, samples.at(-1)!.bytes + 12 * GIB)).toEqual({ daysLeft: 12, bytesPerDay: GIB, reason: null })
  })

  test('with noise ten times as large as itself is found within a fifth', () => {
    const draw = random(7)
    let level = 0
    const samples = history(30, () => 0).map((sample) => {
      level += GIB
      return { ...sample, bytes: sample.bytes + level + (draw() - 0.5) * 10 * GIB }
    })
    expect(Math.abs(of(samples).bytesPerDay! / GIB - 1)).toBeLessThan(0.2)
  })

  test('of which all comes once a week is that of a week', () => {
    const { bytesPerDay } = of(history(30, (index) => (index % 7 === 3 ? 7 * GIB : 0)))
    expect(Math.abs(bytesPerDay! / GIB - 1)).toBeLessThan(0.35)
  })

  test('goes on behind one large prune, or one new machine', () => {
    for (const step of [-500 * GIB, 2000 * GIB])
      for (const at of [3, 15, 28]) {
        const { bytesPerDay } = of(
          history(30, (index) => GIB + (index === at ? step : 0), 1000 * GIB),
          9000 * GIB,
        )
        expect(Math.abs(bytesPerDay! / GIB - 1)).toBeLessThan(0.1)
      }
  })

  test('that collections take back every few days is none', () => {
    expect(of(history(30, (index) => (index % 6 === 5 ? -5 * GIB : GIB)))).toMatchObject({
      daysLeft: null,
      reason: 'growth',
    })
  })
})

describe('no number of days', () => {
  test('where it shrinks, or stands still', () => {
    expect(of(history(30, () => -GIB))).toEqual({ daysLeft: null, bytesPerDay: -GIB, reason: 'growth' })
    expect(of(history(30, () => 0))).toEqual({ daysLeft: null, bytesPerDay: 0, reason: 'growth' })
  })

  test('where there are few samples, or they lie within a few days, or in the future', () => {
    const none = { daysLeft: null, bytesPerDay: null, reason: 'history' }
    expect(of([])).toEqual(none)
    expect(of(history(6, () => GIB))).toEqual(none)
    expect(of(history(7, () => GIB)).daysLeft).not.toBeNull()
    const ahead = history(30, () => GIB).map(({ day, bytes }) => ({ day: day + 40, bytes }))
    expect(of(ahead, 10_000 * GIB)).toEqual(none)
  })

  test('where the limit is ten years away, or there is none', () => {
    const samples = history(30, () => 1)
    expect(of(samples)).toEqual({ daysLeft: null, bytesPerDay: 1, reason: 'far' })
    expect(of(samples, null)).toEqual({ daysLeft: null, bytesPerDay: 1, reason: 'limit' })
  })
})

test('what is full is full, whatever is known', () => {
  expect(forecastOf(null, { usedBytes: 10, limitBytes: 10 })).toEqual({ daysLeft: 0, bytesPerDay: null, reason: null })
})

test('days without a sample are no days without growth, and older ones do not count', () => {
  const gaps = history(30, () => GIB).filter(({ day }) => day % 4 !== 0)
  expect(of(gaps).bytesPerDay).toBe(GIB)
  const changedPace = history(200, (index) => (index < 170 ? 50 * GIB : GIB))
  expect(of(changedPace, 1e6 * GIB).bytesPerDay).toBe(GIB)
})

test('a forecast stays within the bounds of what happened, whatever the history', () => {
  const draw = random(11)
  for (let round = 0; round < 300; round++) {
    const days = 7 + Math.floor(draw() * 30)
    const samples = history(days, () => (draw() < 0.1 ? (draw() - 0.5) * 1000 : draw() * 10) * GIB, 1e5 * GIB)
    const { bytesPerDay, daysLeft } = of(samples, 2e5 * GIB)
    const seen = samples.slice(-30)
    const perDay = seen.slice(1).map(({ bytes }, index) => bytes - seen[index]!.bytes)
    expect(bytesPerDay!).toBeGreaterThanOrEqual(Math.min(...perDay) - 1)
    expect(bytesPerDay!).toBeLessThanOrEqual(Math.max(...perDay) + 1)
    if (daysLeft !== null) expect(daysLeft).toBeGreaterThanOrEqual(0)
  }
})
