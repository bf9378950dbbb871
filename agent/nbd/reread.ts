// A bitmap's map with further ranges marked as changed: what the gateway lost of the base must be read though unchanged.
import type { StatusByContext } from './pending-request.ts'
import type { StatusSource } from './extents.ts'
import { BITMAP_DIRTY, type StatusExtent } from './wire.ts'

/** Offset and length in bytes. */
export type ByteRange = readonly [offset: number, length: number]

/** The map from `offset` on with these ascending ranges changed in it. */
export const withChanged = (
  offset: number,
  statuses: readonly StatusExtent[],
  ranges: readonly ByteRange[],
): StatusExtent[] => {
  const result: StatusExtent[] = []
  const end = offset + statuses.reduce((sum, { length }) => sum + length, 0)
  const near = ranges.filter(([from, length]) => from + length > offset && from < end)
  let at = offset
  let next = 0
  for (const { length, flags } of statuses) {
    const extentEnd = at + length
    while (at < extentEnd) {
      while (next < near.length && near[next]![0] + near[next]![1] <= at) next++
      const [from, rangeLength] = near[next] ?? [extentEnd, 0]
      const inside = from <= at
      const until = Math.min(extentEnd, inside ? from + rangeLength : from)
      result.push({ length: until - at, flags: inside ? flags | BITMAP_DIRTY : flags })
      at = until
    }
  }
  return result
}

/** A source whose map of `context` has these ascending ranges changed. */
export const rereading = (source: StatusSource, context: string, ranges: readonly ByteRange[]): StatusSource =>
  ranges.length === 0
    ? source
    : {
        size: source.size,
        blockStatus: async (offset, length): Promise<StatusByContext> => {
          const maps = await source.blockStatus(offset, length)
          const statuses = maps.get(context)
          return statuses === undefined ? maps : new Map(maps).set(context, withChanged(offset, statuses, ranges))
        },
      }
