// Layers of restore points and the cores of what they changed.
import { expect, test } from 'vitest'
import { CORE_COLUMNS, coreOf, strataOf } from '../../../../gateway/console/pictures/strata.ts'

const HOUR_MS = 3_600_000

const at = (hour: number, bytesSent: number) => ({ id: `p${hour}`, timeMs: hour * HOUR_MS, bytesSent })

test('a layer is as thick as what was sent, within bounds, and as far from the next as the time between them', () => {
  const layers = strataOf([at(30, 0), at(29, 2 ** 30), at(20, 2 ** 10)])
  expect(layers.map(({ id }) => id)).toEqual(['p30', 'p29', 'p20'])
  const [newest, full, small] = layers as [(typeof layers)[0], (typeof layers)[0], (typeof layers)[0]]
  expect(newest.height).toBe(30)
  expect(full.height).toBe(64)
  expect(small.height).toBeGreaterThan(newest.height)
  expect(small.height).toBeLessThan(full.height)
  expect([newest.above, small.above]).toEqual([0, 34])
  expect(full.above).toBeGreaterThan(1)
  expect(full.above).toBeLessThan(34)
})

test('a gap is told where the interval is much longer than the usual one, and never from few points', () => {
  const hours = [10, 9, 8, 7, 1, 0]
  expect(strataOf(hours.map((hour) => at(hour, 1))).map(({ gapMs }) => gapMs)).toEqual([
    null,
    null,
    null,
    null,
    6 * HOUR_MS,
    null,
  ])
  // minutes are no gap, even between points of one minute
  expect(strataOf([0.9, 0.1, 0.1, 0.1, 0].map((hour) => at(hour, 1))).every(({ gapMs }) => gapMs === null)).toBe(true)
  expect(strataOf([at(100, 1), at(2, 1), at(1, 1)]).every(({ gapMs }) => gapMs === null)).toBe(true)
  expect(strataOf([])).toEqual([])
  // clocks were set: two points of one instant, and an older one that says to be newer
  const odd = strataOf([at(5, 1), at(5, 1), at(9, 1), at(4, 1)])
  expect(odd.every(({ above, height }) => Number.isInteger(above) && Number.isInteger(height))).toBe(true)
})

test('a core shows each change, however small, in the columns where it is, and each column once', () => {
  const size = 2 ** 40
  const core = coreOf(
    [
      { offset: 0, bytes: 4096, kind: 'data' },
      { offset: 4096, bytes: 4096, kind: 'data' },
      { offset: size / 2, bytes: size / 4, kind: 'data' },
      { offset: size - 4096, bytes: 4096, kind: 'zero' },
      { offset: size / 4, bytes: 4096, kind: 'damaged' },
    ],
    size,
  )
  expect(core.data).toBe('M0 0h1v12h-1zM120 0h60v12h-60z')
  expect(core.zero).toBe(`M${CORE_COLUMNS - 1} 8h1v4h-1z`)
  expect(core.damaged).toBe('M60 0h1v4h-1zM60 8h1v4h-1z')
  expect(coreOf([], size)).toEqual({ data: '', zero: '', damaged: '' })
  expect(coreOf([{ offset: 0, bytes: 1, kind: 'data' }], 0)).toEqual({ data: '', zero: '', damaged: '' })
})
