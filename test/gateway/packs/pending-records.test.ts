// Encoding of nodes, picking of what is new, and what is pending, each read back from the bytes.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { RECORD, parseRecord, recordBytes } from '../../../gateway/packs/format.ts'
import { idName } from '../../../protocol/host/bytes.ts'
import { encodeNodes, onlyFresh, PendingRecords } from '../../../gateway/packs/pending-records.ts'

const nodesOf = (lengths: readonly number[]) =>
  lengths.map((length, index) => ({
    id: new Uint8Array(32).fill(index + 1),
    bytes: new Uint8Array(length).fill(index),
    level: 0,
    position: index,
  }))

test('what is picked of a batch parses back from its new place, in the old order', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 200 }), fc.boolean()), { maxLength: 20 }), (picks) => {
      const nodes = nodesOf(picks.map(([length]) => length))
      const fresh = onlyFresh(encodeNodes(nodes), (_, index) => picks[index]![1])
      const expected = nodes.filter((_, index) => picks[index]![1])
      expect(fresh.records.length).toBe(expected.length)
      for (const [index, { offset }] of fresh.records.entries()) {
        const record = parseRecord(fresh.buffer, offset)
        expect(record.type).toBe(RECORD.node)
        expect([...record.parts[0]!.id]).toEqual([...expected[index]!.id])
        expect([...record.stored]).toEqual([...expected[index]!.bytes])
      }
      const last = fresh.records.at(-1)
      expect(fresh.buffer.length).toBe(last === undefined ? 0 : last.offset + recordBytes(last.storedLength))
    }),
  )
})

test('pending records are found by id and weighed with their headers', () => {
  const pending = new PendingRecords()
  const [record] = encodeNodes(nodesOf([10])).records
  expect(pending.has(idName(record!.parts[0]!.id))).toBe(false)
  pending.add({ ...record!, pack: 1 })
  expect(pending.has(idName(record!.parts[0]!.id))).toBe(true)
  expect(pending.bytes).toBe(recordBytes(10))
})
