// Only what was read and is durable is discarded, in whole pieces. Method: a played connection that notes what it is asked.
import { expect, test } from 'vitest'
import { DISCARD_BYTES, Discards } from '../../../agent/nbd/discards.ts'
import type { DiskExtent } from '../../../agent/nbd/extents.ts'

const MIB = 1024 * 1024

async function* extents(): AsyncGenerator<DiskExtent> {
  yield { offset: 0, length: 4 * MIB, kind: 'data' }
  yield { offset: 4 * MIB, length: MIB, kind: 'keep' }
  yield { offset: 5 * MIB, length: 100 * MIB, kind: 'zero' }
}

const watched = async (trim: (offset: number, length: number) => Promise<void>): Promise<Discards> => {
  const discards = new Discards({ trim })
  for await (const extent of discards.watch(extents())) expect(extent.length).toBeGreaterThan(0)
  return discards
}

test('nothing before it is durable, nothing twice, nothing unchanged, and no request is long', async () => {
  const trims: [number, number][] = []
  const discards = await watched(async (offset, length) => void trims.push([offset, length]))
  discards.upTo(0)
  await discards.settled()
  expect(trims).toEqual([])
  discards.upTo(3 * MIB)
  discards.upTo(2 * MIB)
  await discards.settled()
  // the first piece stays
  expect(trims).toEqual([[DISCARD_BYTES, 3 * MIB - DISCARD_BYTES]])
  discards.upTo(105 * MIB)
  await discards.settled()
  expect(trims.reduce((sum, [, length]) => sum + length, 0)).toBe(104 * MIB - DISCARD_BYTES)
  const isLong = ([, length]: [number, number]): boolean => length > 64 * MIB
  const isUnchanged = ([offset, length]: [number, number]): boolean => offset < 5 * MIB && offset + length > 4 * MIB
  expect(trims.filter((trim) => isLong(trim) || isUnchanged(trim))).toEqual([])
  for (const [index, [offset]] of trims.slice(1).entries())
    expect(offset).toBeGreaterThanOrEqual(trims[index]![0] + trims[index]![1])
})

test('larger pieces where those are the unit', async () => {
  const trims: [number, number][] = []
  const discards = new Discards(
    { trim: async (offset, length) => void trims.push([offset, length]) },
    { pieceBytes: 2 * MIB },
  )
  for await (const { kind } of discards.watch(extents())) expect(kind).not.toBe('')
  discards.upTo(3 * MIB)
  await discards.settled()
  discards.upTo(9 * MIB)
  await discards.settled()
  expect(trims).toEqual([
    [2 * MIB, 2 * MIB],
    [6 * MIB, 2 * MIB],
  ])
})

test('an export that cannot discard is asked once', async () => {
  let asked = 0
  const discards = await watched(async () => {
    asked += 1
    throw new Error('EPERM')
  })
  for (const offset of [3 * MIB, 105 * MIB]) {
    discards.upTo(offset)
    await discards.settled()
  }
  expect(asked).toBe(1)
})
