// What a survey counts of the index: in all, by pack, by owner, and what names no pack.
import { expect, test } from 'vitest'
import { RECORD } from '../../../gateway/packs/format.ts'
import { IndexTally } from '../../../gateway/maintenance/index-tally.ts'

const page = {
  ids: new Uint8Array(3 * 32),
  types: Uint8Array.of(RECORD.chunk, RECORD.node, RECORD.chunk),
  packs: Uint32Array.of(1, 2, 1),
  bytes: Uint32Array.of(100, 200, 300),
  plain: Uint32Array.of(1000, 200, 3000),
}

test('counts rows in all, by pack and by owner', () => {
  const tally = new IndexTally()
  for (const [row, owner] of [7, 7, 0].entries()) tally.add(page, row, owner)
  expect(tally.examined).toEqual({ records: 3, bytes: 600 })
  expect(tally.live).toEqual({ records: 2, bytes: 300 })
  expect(tally.dead).toEqual({ records: 1, bytes: 300 })
  expect(tally.packs.get(1)).toEqual({ rows: 2, liveRows: 1, liveBytes: 100 })
  expect([...tally.owners]).toEqual([[7, { plainBytes: 1000, storedBytes: 300 }]])
  expect([tally.strayRows([1, 2]), tally.strayRows([2]), tally.strayRows([])]).toEqual([0, 2, 3])
})
