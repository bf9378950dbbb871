// What a collection would gain, estimated without looking at the index: from the bytes of packs and of restore points, and from
// how well the last estimates held. Pure.
import type { CollectionReport } from '../../protocol/maintenance.ts'
import type { UpkeepTenant } from '../catalog/upkeep.ts'

/** Least and most of an estimate that is taken to be dead: one odd collection must not end or flood all later ones. */
const SHARE_MIN = 0.05
const SHARE_MAX = 1

/** Estimates below this teach nothing, in bytes. */
const LEARNT_BYTES_MIN = 64 * 1024

/** The part of the last collection in the share; the rest is what was known before. */
const SHARE_WEIGHT = 0.5

/** What a collection leaves for the next estimate. */
export interface CollectionNote {
  /** Bytes of packs, and of points with what they carry, at its end. */
  readonly packBytes: number
  readonly keptBytes: number
  /** Points that were removed, ever, by then. */
  readonly removed: number
  /** How much of what an estimate says turns out to be dead: 0 to 1. */
  readonly share: number
}

type Measured = Pick<UpkeepTenant, 'packBytes' | 'keptBytes' | 'removed'>

/** The note of the last collection; null where there was none, or it is not one. */
export const collectionNote = (note: string | undefined): CollectionNote | null => {
  const value = JSON.parse(note ?? '{}') as Partial<CollectionNote>
  const { packBytes, keptBytes, removed, share } = value
  const all = [packBytes, keptBytes, removed, share]
  return all.every((one) => typeof one === 'number' && Number.isFinite(one)) ? (value as CollectionNote) : null
}

/**
 * Bytes in packs that nothing needs any more since the last collection: what packs have grown by more than points have. It counts
 * what failed backups stored, replaced states, and removed points less what the points behind them still need of them.
 */
const newDeadBytes = ({ packBytes, keptBytes }: Measured, last: CollectionNote | null): number =>
  Math.max(0, packBytes - (last?.packBytes ?? 0) - (keptBytes - (last?.keptBytes ?? 0)))

/**
 * Bytes that have died since the last collection, and whether points were removed since. What that one left, because it lies in
 * packs above the threshold, does not count: it would ask for a collection again and again that frees nothing.
 */
export const collectionGain = (
  tenant: Measured,
  last: CollectionNote | null,
): { readonly bytes: number; readonly removed: boolean } => ({
  bytes: Math.round(newDeadBytes(tenant, last) * (last?.share ?? 1)),
  removed: tenant.removed > (last?.removed ?? 0),
})

/** The note of a collection between `before` and `after`. */
export const notedCollection = (
  { before, after, last }: { before: Measured; after: Measured; last: CollectionNote | null },
  { dead }: Pick<CollectionReport, 'dead'>,
): CollectionNote => {
  const expected = newDeadBytes(before, last)
  const found = dead.bytes / expected
  const known = last?.share ?? found
  const share = expected < LEARNT_BYTES_MIN ? (last?.share ?? 1) : known + (found - known) * SHARE_WEIGHT
  const { packBytes, keptBytes, removed } = after
  return { packBytes, keptBytes, removed, share: Math.min(SHARE_MAX, Math.max(SHARE_MIN, share)) }
}
