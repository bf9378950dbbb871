// A bitmap's map with further ranges changed, against a model that knows every byte.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { StatusExtent } from '../../../agent/nbd/client.ts'
import { diskExtents, type StatusSource } from '../../../agent/nbd/extents.ts'
import { rereading, withChanged, type ByteRange } from '../../../agent/nbd/reread.ts'

const DIRTY = 1
const CONTEXT = 'qemu:dirty-bitmap:x'

const extentsOf = (flags: readonly number[]): StatusExtent[] => {
  const extents: StatusExtent[] = []
  for (const value of flags) {
    const last = extents.at(-1)
    if (last?.flags === value) extents[extents.length - 1] = { length: last.length + 1, flags: value }
    else extents.push({ length: 1, flags: value })
  }
  return extents
}

const flagsOf = (extents: readonly StatusExtent[]): number[] =>
  extents.flatMap(({ length, flags }) => Array<number>(length).fill(flags))

/** Ascending ranges that do not touch, from gaps and lengths. */
const rangesArbitrary = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 })), { maxLength: 6 })
  .map((pairs) => {
    let at = -1
    return pairs.map(([gap, length]): ByteRange => {
      const offset = at + gap
      at = offset + length
      return [offset, length]
    })
  })

const covers = (ranges: readonly ByteRange[], at: number): boolean =>
  ranges.some(([offset, length]) => at >= offset && at < offset + length)

test('exactly the bytes of the ranges become changed, and no byte is lost or made', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(0, DIRTY), { minLength: 1, maxLength: 80 }),
      fc.nat(60),
      rangesArbitrary,
      (flags, offset, ranges) => {
        const result = withChanged(offset, extentsOf(flags), ranges)
        expect(result.every(({ length }) => length > 0)).toBe(true)
        expect(flagsOf(result)).toEqual(
          flags.map((value, index) => (covers(ranges, offset + index) ? value | DIRTY : value)),
        )
      },
    ),
  )
})

test('a disk’s map reads what did not change where it is told to, and keeps the rest', async () => {
  const size = 100
  const dirty = Array.from({ length: size }, (_, at) => (at >= 50 && at < 55 ? DIRTY : 0))
  const source = (context: string, flags: readonly number[]): StatusSource => ({
    size,
    blockStatus: async (offset, length) => new Map([[context, extentsOf(flags.slice(offset, offset + length))]]),
  })
  const allocation = source(
    'base:allocation',
    Array.from({ length: size }, (_, at) => (at >= 20 && at < 30 ? 3 : 0)),
  )
  const ranges: ByteRange[] = [
    [10, 15],
    [90, 10],
  ]
  const client = rereading(source(CONTEXT, dirty), CONTEXT, ranges)
  const found = []
  for await (const extent of diskExtents({ allocation, dirty: { client, context: CONTEXT }, size })) found.push(extent)
  expect(found).toEqual([
    { offset: 0, length: 10, kind: 'keep' },
    { offset: 10, length: 10, kind: 'data' },
    { offset: 20, length: 5, kind: 'zero' },
    { offset: 25, length: 25, kind: 'keep' },
    { offset: 50, length: 5, kind: 'data' },
    { offset: 55, length: 35, kind: 'keep' },
    { offset: 90, length: 10, kind: 'data' },
  ])
})

test('without ranges the source is the same, and other maps are left alone', async () => {
  const source: StatusSource = { size: 4, blockStatus: async () => new Map([['other', [{ length: 4, flags: 0 }]]]) }
  expect(rereading(source, CONTEXT, [])).toBe(source)
  expect(await rereading(source, CONTEXT, [[0, 4]]).blockStatus(0, 4)).toEqual(
    new Map([['other', [{ length: 4, flags: 0 }]]]),
  )
})
