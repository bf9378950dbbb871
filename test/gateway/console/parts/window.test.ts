// Which rows of a long list are drawn. Method: random places, checked for what is in sight and for a bound.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { windowOf } from '../../../../gateway/console/parts/window.ts'

test('what is in sight is drawn, and no more than some rows beside it', () => {
  const places = fc.record({
    count: fc.nat(100_000),
    rowHeight: fc.integer({ min: 20, max: 120 }),
    scrolled: fc.integer({ min: -500, max: 9_000_000 }),
    height: fc.nat(3000),
  })
  fc.assert(
    fc.property(places, ({ count, rowHeight, scrolled, height }) => {
      const { from, to } = windowOf({ count, rowHeight }, scrolled, height)
      expect(from).toBeGreaterThanOrEqual(0)
      expect(to).toBeLessThanOrEqual(count)
      expect(to - from).toBeLessThanOrEqual(height / rowHeight + 26)
      const top = Math.max(0, scrolled)
      for (const edge of [top, top + height - 1]) {
        const row = Math.floor(edge / rowHeight)
        if (edge >= top && row < count) expect(row >= from && row < to).toBe(true)
      }
    }),
  )
})

test('a list that became shorter than where one was shows its end', () => {
  expect(windowOf({ count: 3, rowHeight: 40 }, 4000, 800)).toEqual({ from: 3, to: 3 })
})
