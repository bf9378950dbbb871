// Points, plans and rules for people.
import { expect, test } from 'vitest'
import { holdLine, pointCells, pruneLines, timeText } from '../../../gateway/commands/report-points.ts'
import type { Point } from '../../../protocol/schemas.ts'

const ID = '0192aaaa-0000-4000-8000-0000c0ffee42'
const DAY_MS = 24 * 3_600_000

const point: Point = {
  id: ID,
  machine: 'db1',
  timeMs: DAY_MS,
  future: false,
  kind: 'full',
  reason: 'first',
  consistency: 'crash',
  note: null,
  base: null,
  bytesRead: 1,
  bytesSent: 1,
  bytesStored: 1,
  durationMs: 1,
  took: null,
  disks: [],
  attachments: [],
  missingAttachments: 0,
  drill: null,
  leftOut: [],
  held: false,
  lockedUntilMs: null,
  usedUntilMs: null,
  verifiedMs: null,
  lostBytes: 0,
}

test('points: what keeps each, when it was verified, how much of it is lost', () => {
  const cells = (more: Partial<Point>): string[] => pointCells({ ...point, ...more }, 2 * DAY_MS)
  const start = [ID, 'db1', '1970-01-02 00:00:00', 'full']
  expect(cells({})).toEqual([...start, '-', '-', '-', '-'])
  expect(
    cells({
      held: true,
      lockedUntilMs: 3 * DAY_MS,
      verifiedMs: 0,
      drill: { id: ID, verdict: 'failed', addedMs: 0 },
      lostBytes: 4096,
    }),
  ).toEqual([
    ...start,
    'held, locked until 1970-01-04 00:00:00',
    '1970-01-01 00:00:00',
    'failed 1970-01-01 00:00:00',
    '4.0 KiB',
  ])
  expect(cells({ future: true })[2]).toBe('1970-01-02 00:00:00 (in the future)')
  expect(cells({ usedUntilMs: 3 * DAY_MS })[4]).toBe('in use until 1970-01-04 00:00:00')
  // a lock whose time is over is none
  expect(cells({ lockedUntilMs: 2 * DAY_MS })).toEqual([...start, '-', '-', '-', '-'])
  expect(timeText(null)).toBe('-')
  expect(holdLine({ ...point, held: true }, 0)).toBe(`Restore point ${ID} of db1 is held.`)
  expect(holdLine(point, 0)).toBe(`Restore point ${ID} of db1 is neither held nor locked.`)
})

test('a dry run shows every point with what keeps it, in the order of machines and times; a prune what went', () => {
  const plan = {
    points: [
      { point: ID, machine: 'b', timeMs: DAY_MS, keptBy: [] },
      { point: ID, machine: 'b', timeMs: 2 * DAY_MS, keptBy: ['daily', 'held'] as ('daily' | 'held')[] },
      { point: ID, machine: 'a', timeMs: DAY_MS, keptBy: ['last-good'] as 'last-good'[] },
    ],
    pointCount: 5,
    removed: 1,
  }
  expect(pruneLines('acme', plan, true)).toEqual([
    `MACHINE  TIME (UTC)           POINT`,
    `a        1970-01-02 00:00:00  ${ID}  stays: last-good`,
    `b        1970-01-03 00:00:00  ${ID}  stays: daily, held`,
    `b        1970-01-02 00:00:00  ${ID}  GOES`,
    '... and 2 more',
    'acme: 1 of 5 restore points would be removed.',
  ])
  expect(pruneLines('acme', { ...plan, pointCount: 3 }, false)).toEqual([
    `MACHINE  TIME (UTC)           POINT`,
    `b        1970-01-02 00:00:00  ${ID}  removed`,
    'acme: 1 of 3 restore points removed. To free their space: varve-gateway gc',
  ])
  expect(pruneLines('acme', { points: [], pointCount: 1, removed: 0 }, false)).toEqual([
    'acme: 0 of 1 restore point removed.',
  ])
})
