// What of an image is to be looked at, where it is known what it was: what differs between that point and the wanted one, what a
// bitmap has recorded since, and chunks here and there that must be as they are said to be.
import { mapOf, type MappedTree } from '../export/extents.ts'
import { isChanged, type StatusSource } from '../nbd/extents.ts'
import type { StatusByContext } from '../nbd/pending-request.ts'
import { BITMAP_DIRTY, type StatusExtent } from '../nbd/wire.ts'

/** The name of its map. */
export const UNLIKE_CONTEXT = 'varve:unlike'

/** Extents of one answer at most. */
const EXTENTS_MAX = 4096

/** Chunks that are compared although they are said to be those of the base. */
export const SPOTS_MAX = 64

export interface UnlikeOptions {
  readonly tree: MappedTree
  readonly base: MappedTree
  readonly chunkBytes: number
  readonly size: number
  /** Null where the caller vouches that nothing was written since. */
  readonly bitmap: { readonly client: StatusSource; readonly context: string } | null
  /** Chunks that are looked at in any case, ascending. */
  readonly spots: readonly number[]
}

/** Where at least one of two maps has a change, as far as both go. */
export const eitherChanged = (a: readonly StatusExtent[], b: readonly StatusExtent[]): StatusExtent[] => {
  const result: { length: number; flags: number }[] = []
  let [atA, atB, usedA, usedB] = [0, 0, 0, 0]
  while (atA < a.length && atB < b.length) {
    const [left, right] = [a[atA]!, b[atB]!]
    const length = Math.min(left.length - usedA, right.length - usedB)
    const flags = isChanged(left) || isChanged(right) ? BITMAP_DIRTY : 0
    const last = result.at(-1)
    if (last?.flags === flags) last.length += length
    else result.push({ length, flags })
    usedA += length
    usedB += length
    if (usedA === left.length) [atA, usedA] = [atA + 1, 0]
    if (usedB === right.length) [atB, usedB] = [atB + 1, 0]
  }
  return result
}

/** Up to SPOTS_MAX chunks of an image, ascending; `random` gives numbers from 0 on below 1. */
export const pickSpots = (chunks: number, random: () => number): number[] => {
  const picked = new Set<number>()
  for (let spot = 0; spot < SPOTS_MAX && chunks > 0; spot++) picked.add(Math.floor(random() * chunks))
  return [...picked].sort((a, b) => a - b)
}

/** The maps of these spots: changed where one is. */
const spotStatus = (
  { spots, chunkBytes }: Pick<UnlikeOptions, 'spots' | 'chunkBytes'>,
  offset: number,
  length: number,
): StatusExtent[] => {
  const end = offset + length
  const extents: StatusExtent[] = []
  let at = offset
  for (const spot of spots) {
    const from = Math.max(at, spot * chunkBytes)
    const until = Math.min(end, (spot + 1) * chunkBytes)
    if (until <= from) continue
    if (from > at) extents.push({ length: from - at, flags: 0 })
    extents.push({ length: until - from, flags: BITMAP_DIRTY })
    at = until
  }
  if (at < end) extents.push({ length: end - at, flags: 0 })
  return extents
}

/** A map of what may differ from the wanted image; DATA_DAMAGED, and what the bitmap's connection ends with. */
export class Unlike implements StatusSource {
  readonly size: number
  readonly #options: UnlikeOptions

  constructor(options: UnlikeOptions) {
    this.#options = options
    this.size = options.size
  }

  async blockStatus(offset: number, length: number): Promise<StatusByContext> {
    const claimed = await this.claimed(offset, length)
    return new Map([[UNLIKE_CONTEXT, eitherChanged(claimed, spotStatus(this.#options, offset, length))]])
  }

  /** The same without the spots: what may differ if all that was said is true. */
  async claimed(offset: number, length: number): Promise<readonly StatusExtent[]> {
    const { tree, base, chunkBytes, bitmap } = this.#options
    const map = await mapOf({ tree, other: base, chunkBytes, offset, length, limit: EXTENTS_MAX })
    const differing = map.map((one) => ({ length: one.length, flags: one.differs ? BITMAP_DIRTY : 0 }))
    if (bitmap === null) return differing
    const written = (await bitmap.client.blockStatus(offset, length)).get(bitmap.context) ?? []
    return eitherChanged(differing, written)
  }
}
