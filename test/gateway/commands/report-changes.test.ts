// Figures and sentences about what differs.
import { expect, test } from 'vitest'
import { changeCells, diskDifference } from '../../../gateway/commands/report-changes.ts'
import type { ChangedRange } from '../../../protocol/changes.ts'

const MIB = 1024 * 1024

const page = (ranges: readonly ChangedRange[], fromSize: number | null = 8 * MIB) => ({
  size: 8 * MIB,
  fromSize,
  granularity: 65_536,
  covered: { offset: 0, bytes: 8 * MIB },
  ranges: [...ranges],
  changedBytes: 0,
  next: null,
})

test('pages are summed up by kind, in a sentence that names only what there is', () => {
  const found = diskDifference('vda')
  found.add(page([{ offset: 0, bytes: MIB, kind: 'data' }]))
  found.add(
    page([
      { offset: 2 * MIB, bytes: MIB / 2, kind: 'zero' },
      { offset: 3 * MIB, bytes: MIB, kind: 'data' },
    ]),
  )
  expect(found.told).toEqual({
    disk: 'vda',
    size: 8 * MIB,
    fromSize: 8 * MIB,
    granularity: 65_536,
    changedBytes: 2.5 * MIB,
    dataBytes: 2 * MIB,
    zeroBytes: MIB / 2,
    damagedBytes: 0,
    sentence: 'vda: 2.5 MiB of 8.0 MiB differ: 2.0 MiB data, 512 KiB zeroes.',
  })
  found.add(page([{ offset: 6 * MIB, bytes: MIB, kind: 'damaged' }]))
  expect(found.told.sentence).toBe('vda: 3.5 MiB of 8.0 MiB differ: 2.0 MiB data, 512 KiB zeroes, 1.0 MiB damaged.')
})

test('equal disks, an empty one, and one of another size are told apart', () => {
  const sentence = (fromSize: number | null, ranges: readonly ChangedRange[] = []): string => {
    const found = diskDifference('vda')
    found.add(page(ranges, fromSize))
    return found.told.sentence
  }
  expect(sentence(8 * MIB)).toBe('vda: nothing of 8.0 MiB differs.')
  expect(sentence(4 * MIB)).toBe('vda: nothing of 8.0 MiB differs (it had 4.0 MiB).')
  expect(sentence(null, [{ offset: 0, bytes: 1, kind: 'data' }])).toBe(
    'vda: 1 B of 8.0 MiB differ (against an empty disk): 1 B data.',
  )
})

test('a range is told in bytes', () => {
  expect(changeCells({ disk: 'vda', offset: 65_536, bytes: 131_072, kind: 'zero' })).toEqual([
    'vda',
    '65536',
    '131072',
    'zero',
  ])
})
