// The raster of a disk: cells, sums, keys, and looking closer and further.
import { expect, test } from 'vitest'
import * as fc from 'fast-check'
import {
  cellPart,
  cellsOf,
  closer,
  columnsFor,
  further,
  granularityFor,
  gridOf,
  kindOf,
  movedBy,
  nextChanged,
  partOf,
  sumsOf,
  withLost,
  type Part,
} from '../../../../gateway/console/pictures/raster.ts'
import type { ChangedRange } from '../../../../protocol/changes.ts'

const MIB = 1024 * 1024
const CHUNK = 65_536

const gridFor = (part: Part, width: number) =>
  gridOf(part, Math.max(CHUNK, granularityFor(part, columnsFor(width))), width)

test('any disk fits into a raster of any page, with cells that are large enough for a pattern', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 46 }), fc.integer({ min: 320, max: 3840 }), (bytes, width) => {
      const grid = gridFor({ offset: 0, bytes }, width)
      expect(grid.columns * grid.pixels).toBeLessThanOrEqual(width)
      expect(grid.pixels).toBeGreaterThanOrEqual(7)
      expect(grid.rows).toBeLessThanOrEqual(32)
      expect(grid.count * grid.granularity).toBeGreaterThanOrEqual(bytes)
      expect((grid.count - 1) * grid.granularity).toBeLessThan(bytes)
    }),
  )
})

test('a cell shows the worst of what is in it, and is what the ranges say', () => {
  const grid = gridFor({ offset: 4 * MIB, bytes: 4 * MIB }, 1000)
  expect(grid).toMatchObject({ granularity: CHUNK, count: 64, columns: 16 })
  const ranges: ChangedRange[] = [
    { offset: 0, bytes: 4 * MIB + 1, kind: 'zero' },
    { offset: 4 * MIB + CHUNK, bytes: CHUNK, kind: 'data' },
    { offset: 4 * MIB + CHUNK + 5, bytes: 1, kind: 'damaged' },
    { offset: 4 * MIB + CHUNK, bytes: 1, kind: 'zero' },
    { offset: 8 * MIB - 1, bytes: CHUNK, kind: 'data' },
    { offset: 9 * MIB, bytes: CHUNK, kind: 'data' },
  ]
  const cells = cellsOf(grid, ranges)
  expect([0, 1, 2, 63].map((cell) => kindOf(cells, cell))).toEqual(['zero', 'damaged', null, 'data'])
  expect(cells.reduce((sum, value) => sum + (value === 0 ? 0 : 1), 0)).toBe(3)
  expect(sumsOf(ranges, grid)).toEqual({ data: CHUNK + 1, zero: 2, damaged: 1 })
  expect(cellPart(grid, 63)).toEqual({ offset: 8 * MIB - CHUNK, bytes: CHUNK })
  expect(cellPart(gridFor({ offset: 0, bytes: CHUNK + 1 }, 1000), 1)).toEqual({ offset: CHUNK, bytes: 1 })
})

test('what is lost is told once, whether it differs or not', () => {
  const data = (offset: number, bytes: number): ChangedRange => ({ offset, bytes, kind: 'data' })
  const lost = (offset: number, bytes: number): ChangedRange => ({ offset, bytes, kind: 'damaged' })
  expect(
    withLost([data(0, 10), data(20, 10), lost(40, 10)], [lost(5, 2), lost(25, 10), lost(40, 10), lost(60, 1)]),
  ).toEqual([data(0, 5), lost(5, 2), data(7, 3), data(20, 5), lost(25, 10), lost(40, 10), lost(60, 1)])
  expect(withLost([data(0, 1)], [])).toEqual([data(0, 1)])
})

test('keys move within the raster, and to the next change around its end', () => {
  const grid = gridFor({ offset: 0, bytes: 8 * MIB }, 1000)
  expect(movedBy('ArrowRight', 5, grid)).toBe(6)
  expect(movedBy('ArrowUp', 5, grid)).toBe(0)
  expect(movedBy('ArrowDown', 5, grid)).toBe(5 + grid.columns)
  expect(movedBy('End', 5, grid)).toBe(grid.count - 1)
  expect(movedBy('Home', 5, grid)).toBe(0)
  expect(movedBy('a', 5, grid)).toBe(null)
  const cells = cellsOf(grid, [{ offset: 3 * CHUNK, bytes: 2 * CHUNK, kind: 'data' }])
  expect([nextChanged(cells, 0), nextChanged(cells, 3), nextChanged(cells, 4)]).toEqual([3, 4, 3])
  expect(nextChanged(new Uint8Array(4), 0)).toBe(null)
})

test('looking closer keeps the cell in sight until chunks are seen; looking further comes back to the whole disk', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 44 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (size, place) => {
      const target = Math.floor(size * place)
      let part: Part = { offset: 0, bytes: size }
      for (let steps = 0; ; steps += 1) {
        expect(steps).toBeLessThan(20)
        const grid = gridFor(part, 1000)
        const cell = Math.floor((target - part.offset) / grid.granularity)
        const next = closer(grid, cell, CHUNK)
        expect(next.offset).toBeGreaterThanOrEqual(0)
        expect(next.offset).toBeLessThanOrEqual(target)
        expect(next.offset + next.bytes).toBeGreaterThan(target)
        if (next.bytes === part.bytes) break
        part = { offset: next.offset, bytes: Math.min(next.bytes, size - next.offset) }
      }
      if (size > 16 * CHUNK) expect(gridFor(part, 1000).granularity).toBe(CHUNK)
      for (let steps = 0; part.bytes < size; steps += 1) {
        expect(steps).toBeLessThan(20)
        part = further(part, size)
        expect(part.offset + part.bytes).toBeGreaterThan(target)
        part = { offset: part.offset, bytes: Math.min(part.bytes, size - part.offset) }
      }
      expect(part).toEqual({ offset: 0, bytes: size })
    }),
  )
})

test('what a link asks for is a part of the disk, or all of it', () => {
  expect(partOf('65536', '131072', MIB)).toEqual({ offset: CHUNK, bytes: 2 * CHUNK })
  expect(partOf('65536', '99999999', MIB)).toEqual({ offset: CHUNK, bytes: MIB - CHUNK })
  for (const [offset, bytes] of [
    [undefined, undefined],
    ['-1', '5'],
    ['x', '5'],
    ['5', '0'],
    ['1048576', '5'],
    ['1e99', '1'],
  ])
    expect(partOf(offset, bytes, MIB)).toEqual({ offset: 0, bytes: MIB })
})
