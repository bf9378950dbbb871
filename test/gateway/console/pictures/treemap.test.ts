// Treemaps: whatever a report has, the rectangles add up to all of the packs, lie within the picture and do not overlap.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  bytesOf,
  groupsOf,
  MACHINES_SHOWN,
  tenantGroups,
  treemapOf,
} from '../../../../gateway/console/pictures/treemap.ts'
import type { UsageReport, UsageRow } from '../../../../protocol/maintenance.ts'

const row = (scope: UsageRow['scope'], machine: string, disk: string | null, storedBytes: number): UsageRow => ({
  scope,
  machine,
  disk,
  point: null,
  timeMs: null,
  points: 1,
  logicalBytes: 0,
  usedBytes: 0,
  uniqueBytes: 0,
  sharedBytes: 0,
  storedBytes,
})

interface Made {
  readonly machines: readonly { readonly disks: readonly number[]; readonly own: number }[]
  /** Bytes of machines that are not listed. */
  readonly left: number
  readonly shared: number
  readonly dead: number
  readonly upload: number
  readonly other: number
  readonly missing: number
}

const reportOf = ({ machines, left, shared, dead, upload, other, missing }: Made): UsageReport => {
  const rows = machines.flatMap(({ disks, own }, index) => {
    const name = `m${index}`
    const storedBytes = disks.reduce((sum, bytes) => sum + bytes, own)
    return [
      row('machine', name, null, storedBytes),
      ...disks.map((bytes, disk) => row('disk', name, `vd${disk}`, bytes)),
    ]
  })
  const machineBytes = rows.reduce((sum, one) => sum + (one.scope === 'machine' ? one.storedBytes : 0), left)
  const parts = {
    machineBytes,
    sharedBytes: shared,
    deadBytes: dead,
    uploadBytes: upload,
    otherBytes: other,
    missingBytes: missing,
  }
  const sum = machineBytes + shared + dead + upload + other
  return {
    rows: [row('tenant', '', null, machineBytes + shared), ...rows],
    rowCount: rows.length + 1,
    packBytes: sum - missing,
    deadBytes: dead,
    parts,
    quota: { softBytes: null, hardBytes: null },
    dedupRatio: 1,
    compressionRatio: 1,
    growth: { dayBytes: 0, weekBytes: 0, monthBytes: 0 },
  }
}

const bytes = fc.integer({ min: 0, max: 2 ** 40 })

const anyMade: fc.Arbitrary<Made> = fc.record({
  machines: fc.array(fc.record({ disks: fc.array(bytes, { maxLength: 4 }), own: bytes }), { maxLength: 200 }),
  left: bytes,
  shared: bytes,
  dead: bytes,
  upload: bytes,
  other: bytes,
  missing: fc.constant(0),
})

const SIZE = { width: 1000, height: 400 }

test('all rectangles together are all of the packs, as areas too', () => {
  fc.assert(
    fc.property(anyMade, (made) => {
      const report = reportOf(made)
      const groups = groupsOf(report)
      const all = bytesOf(groups.flatMap(({ parts }) => parts))
      expect(all).toBe(report.packBytes + report.parts.missingBytes)
      const { tiles, frames } = treemapOf(groups, SIZE)
      expect(bytesOf(tiles)).toBe(all)
      if (all === 0) return
      for (const { x, y, width, height, bytes: one } of tiles) {
        expect(x).toBeGreaterThanOrEqual(0)
        expect(y).toBeGreaterThanOrEqual(0)
        expect(x + width).toBeLessThanOrEqual(SIZE.width + 1e-6)
        expect(y + height).toBeLessThanOrEqual(SIZE.height + 1e-6)
        expect(width * height).toBeCloseTo((one / all) * SIZE.width * SIZE.height, 3)
      }
      for (const { name, bytes: one } of frames) expect(bytesOf(tiles.filter((tile) => tile.name === name))).toBe(one)
    }),
    { numRuns: 60 },
  )
})

test('the largest machines have a rectangle of their own, the others one together', () => {
  const machines = Array.from({ length: MACHINES_SHOWN + 50 }, (_, index) => ({ disks: [], own: index + 1 }))
  const groups = groupsOf(reportOf({ machines, left: 7, shared: 0, dead: 0, upload: 0, other: 0, missing: 0 }))
  const parts = groups.flatMap((group) => group.parts)
  expect(parts.filter(({ kind }) => kind === 'machine')).toHaveLength(MACHINES_SHOWN)
  expect(parts.find(({ kind }) => kind === 'further')).toMatchObject({ machines: 50, bytes: (50 * 51) / 2 + 7 })
  expect(groups[0]).toMatchObject({ name: `m${MACHINES_SHOWN + 49}` })
})

test('disks, and what a machine’s disks share, are apart; tenants are one rectangle each', () => {
  const machines = [{ disks: [5, 0], own: 2 }]
  const groups = groupsOf(reportOf({ machines, left: 0, shared: 3, dead: 0, upload: 0, other: 1, missing: 0 }))
  expect(groups.map(({ name, parts }) => [name, parts.map(({ kind, disk, bytes: one }) => [kind, disk, one])])).toEqual(
    [
      [
        'm0',
        [
          ['disk', 'vd0', 5],
          ['own', null, 2],
        ],
      ],
      [null, [['shared', null, 3]]],
      [null, [['other', null, 1]]],
    ],
  )
  expect(
    tenantGroups([
      { name: 'a', packBytes: 4 },
      { name: 'b', packBytes: 0 },
    ]),
  ).toHaveLength(1)
})
