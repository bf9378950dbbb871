// Planning of reads, as a property; fetching of records is tested with the tenant store.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { CODEC } from '../../../protocol/chunk.ts'
import { RECORD, recordBytes } from '../../../gateway/packs/format.ts'
import { planReads, slicesOf } from '../../../gateway/packs/record-reader.ts'

const GAP_BYTES = 64 * 1024

const place = fc.record({
  pack: fc.constantFrom('a', 'b', 'c'),
  offset: fc.integer({ min: 48, max: 20_000_000 }),
  storedLength: fc.integer({ min: 1, max: 4 * 1024 * 1024 }),
})

const wantedOf = (places: readonly { pack: string; offset: number; storedLength: number }[]) =>
  places.map((one, index) => ({
    index,
    location: { ...one, plainLength: one.storedLength, codec: CODEC.raw, type: RECORD.chunk, parts: 1, place: 0 },
  }))

test('every record is wholly inside exactly one read, and reads stay bounded', () => {
  fc.assert(
    fc.property(fc.array(place, { maxLength: 40 }), (places) => {
      const groups = planReads(wantedOf(places), GAP_BYTES)
      expect(groups.flatMap(({ wanted }) => wanted.map(({ index }) => index)).sort((a, b) => a - b)).toEqual(
        places.map((_, index) => index),
      )
      for (const { pack, offset, length, wanted } of groups) {
        for (const { location } of wanted) {
          expect(location.pack).toBe(pack)
          expect(location.offset).toBeGreaterThanOrEqual(offset)
          expect(location.offset + recordBytes(location.storedLength)).toBeLessThanOrEqual(offset + length)
        }
        const longest = Math.max(...wanted.map(({ location }) => recordBytes(location.storedLength)))
        expect(length).toBeLessThanOrEqual(Math.max(4 * 1024 * 1024, longest))
      }
    }),
  )
})

test('neighbours are fetched with one read, whatever the order asked', () => {
  const places = [2, 0, 1].map((at) => ({ pack: 'a', offset: 48 + at * recordBytes(1000), storedLength: 1000 }))
  expect(planReads(wantedOf(places), GAP_BYTES)).toMatchObject([
    { pack: 'a', offset: 48, length: 3 * recordBytes(1000) },
  ])
})

test('far records and other packs are read apart', () => {
  const places = [
    { pack: 'a', offset: 48, storedLength: 10 },
    { pack: 'a', offset: 1_000_000, storedLength: 10 },
    { pack: 'b', offset: 48, storedLength: 10 },
  ]
  expect(planReads(wantedOf(places), GAP_BYTES)).toHaveLength(3)
})

test('a gap is read along exactly where the store says that it pays off', () => {
  const end = 48 + recordBytes(10)
  const planned = (gap: number): number =>
    planReads(
      wantedOf([
        { pack: 'a', offset: 48, storedLength: 10 },
        { pack: 'a', offset: end + gap, storedLength: 10 },
      ]),
      GAP_BYTES,
    ).length
  expect([planned(0), planned(GAP_BYTES), planned(GAP_BYTES + 1)]).toEqual([1, 1, 2])
})

test('what lies beside the parts that are asked for is read in slices', () => {
  const location = { pack: 'a', codec: CODEC.raw, type: RECORD.chunk, plainLength: 65_536 }
  const whole = (index: number) => ({
    index,
    location: { ...location, offset: Math.floor(index / 4), storedLength: 262_144, parts: 4, place: index % 4 },
  })
  // whole records are read at once, however many
  expect(
    slicesOf(
      64,
      Array.from({ length: 64 }, (_, index) => whole(index)),
    ),
  ).toEqual([{ from: 0, to: 64 }])
  // one part of each of 64 records: three records and what they have beside it
  const single = (index: number) => ({
    index,
    location: { ...location, offset: index, storedLength: 262_144, parts: 4, place: 1 },
  })
  const slices = slicesOf(
    64,
    Array.from({ length: 64 }, (_, index) => single(index)),
  )
  expect(slices.map(({ from }) => from).slice(1)).toEqual(slices.map(({ to }) => to).slice(0, -1))
  expect([slices[0]!.from, slices.at(-1)!.to]).toEqual([0, 64])
  expect(slices.every(({ from, to }) => to - from <= 4)).toBe(true)
  // however many whole records are asked for, a slice has what one message has
  const bounded = slicesOf(
    1024,
    Array.from({ length: 1024 }, (_, index) => ({
      index,
      location: { ...location, offset: index, storedLength: 65_536, plainLength: 65_536, parts: 1, place: 0 },
    })),
  )
  expect(bounded.every(({ from, to }) => to - from <= 129)).toBe(true)
  expect(slicesOf(3, [])).toEqual([{ from: 0, to: 3 }])
  expect(slicesOf(0, [])).toEqual([])
})
