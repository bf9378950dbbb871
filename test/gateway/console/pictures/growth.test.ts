// Growth: the line goes through what was, the forecast to where it leads, and limits that are far away are out of sight.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { growthOf, roundUp } from '../../../../gateway/console/pictures/growth.ts'

const GIB = 2 ** 30
const BOX = { width: 600, height: 200 }

const asked = {
  samples: [18, 19, 20].map((day) => ({ day, bytes: (day - 17) * GIB })),
  today: 20,
  usedBytes: 4 * GIB,
  bytesPerDay: GIB,
  limits: [] as number[],
}

test('the line ends at what is used now, and the forecast leads on from there', () => {
  const { line, forecast, firstDay, lastDay, x, y } = growthOf(asked, BOX)
  expect([firstDay, lastDay]).toEqual([18, 27])
  const now = `${x(20).toFixed(1)} ${y(4 * GIB).toFixed(1)}`.replaceAll('.0', '')
  expect(line.endsWith(`L${now}`)).toBe(true)
  expect(forecast.startsWith(`M${now}`)).toBe(true)
  expect(y(11 * GIB)).toBeLessThan(y(4 * GIB))
  expect(growthOf({ ...asked, bytesPerDay: null }, BOX)).toMatchObject({ forecast: '', lastDay: 20 })
})

test('limits near enough are in the picture, others are not', () => {
  const { limits, mostBytes } = growthOf({ ...asked, limits: [20 * GIB, 900 * GIB] }, BOX)
  expect(limits).toEqual([20 * GIB])
  expect(mostBytes).toBeGreaterThan(20 * GIB)
})

test('ticks are round figures', () => {
  expect([0, 1, 3, 999, 1000, 1025, 3 * GIB].map(roundUp)).toEqual([1, 1, 5, 1024, 1024, 2048, 5 * GIB])
})

test('whatever was, it is all within the box', () => {
  const day = fc.integer({ min: 0, max: 400 })
  const bytes = fc.integer({ min: 0, max: 2 ** 50 })
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.record({ day, bytes }), { selector: (one) => one.day, maxLength: 40 }),
      bytes,
      fc.option(fc.integer({ min: -(2 ** 40), max: 2 ** 40 })),
      fc.array(bytes, { maxLength: 2 }),
      (samples, usedBytes, bytesPerDay, limits) => {
        const sorted = samples.toSorted((a, b) => a.day - b.day)
        const picture = growthOf({ samples: sorted, today: 400, usedBytes, bytesPerDay, limits }, BOX)
        const numbers = `${picture.line}${picture.forecast}`.match(/-?[0-9.]+/gu)!.map(Number)
        expect(numbers.every((number) => Number.isFinite(number) && number >= -0.1)).toBe(true)
        expect(numbers.every((number, index) => number <= (index % 2 === 0 ? BOX.width : BOX.height) + 0.1)).toBe(true)
        expect(picture.ticks.at(-1)).toBe(picture.mostBytes)
        expect(picture.ticks.length).toBeLessThan(12)
      },
    ),
  )
})
