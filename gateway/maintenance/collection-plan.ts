// Which packs a collection removes, rewrites and keeps: a pure plan over what a survey counted in each.
import { PACK_BYTES_MAX, PACK_HEADER_BYTES, type PackKind } from '../packs/format.ts'

/**
 * Sealed packs smaller than this part of a full one, which crashes and short uploads leave, are merged once there are two of a
 * kind.
 */
const SMALL_PART = 0.25

/** A pack as the survey found it. */
export interface SurveyedPack {
  readonly id: number
  readonly uuid: string
  readonly kind: PackKind
  /** Length of the file, in bytes. */
  readonly bytes: number
  /** Bytes of the records in it that something refers to, headers included. */
  readonly liveBytes: number
  /** Rows of the index that name it once the dead ones are swept. */
  readonly rows: number
  /** Writers may still add to it. */
  readonly open: boolean
  /** It holds known damage, or another pack's file: what cannot be read now may become readable again. */
  readonly damaged: boolean
}

export interface CollectionPlan {
  /** Nothing in them is live. */
  readonly remove: readonly SurveyedPack[]
  /** Their live records go into new packs, in this order, so that neighbours stay together. */
  readonly rewrite: readonly SurveyedPack[]
  readonly keep: readonly SurveyedPack[]
  /** Dead bytes that stay: in packs that are above the threshold, in packs that writers hold, and in damaged ones. */
  readonly belowThresholdBytes: number
  readonly inUseBytes: number
  readonly damagedBytes: number
}

/** Bytes that copying a pack would free: its header is written again with each copy. */
const deadBytesOf = ({ bytes, liveBytes }: SurveyedPack): number => Math.max(0, bytes - PACK_HEADER_BYTES - liveBytes)

/** Bytes of packs that nothing refers to. */
export const deadBytes = (packs: readonly SurveyedPack[]): number =>
  packs.reduce((sum, pack) => sum + deadBytesOf(pack), 0)

/** Its live share is below the threshold. */
const isWasteful = (pack: SurveyedPack, thresholdPercent: number): boolean => {
  const deadPart = deadBytesOf(pack) * 100
  return deadPart > 0 && deadPart > (pack.bytes - PACK_HEADER_BYTES) * (100 - thresholdPercent)
}

/** `thresholdPercent`: packs with a smaller share of live bytes are rewritten, 0 to 100; `packBytes`: most bytes of a pack. */
export const planCollection = (
  packs: readonly SurveyedPack[],
  thresholdPercent: number,
  packBytes = PACK_BYTES_MAX,
): CollectionPlan => {
  const inUse = packs.filter(({ open }) => open)
  const damaged = packs.filter((pack) => !pack.open && pack.damaged)
  const sealed = packs.filter((pack) => !pack.open && !pack.damaged).sort((a, b) => a.id - b.id)
  const remove = sealed.filter(({ rows }) => rows === 0)
  const living = sealed.filter(({ rows }) => rows > 0)
  const wasteful = new Set(living.filter((pack) => isWasteful(pack, thresholdPercent)))
  for (const kind of ['data', 'nodes'] as const) {
    const small = living.filter((pack) => pack.kind === kind && pack.liveBytes < packBytes * SMALL_PART)
    // one alone gains nothing by being copied, unless another wasteful pack of its kind is
    const company = [...wasteful].some((pack) => pack.kind === kind && !small.includes(pack))
    if (small.length > 1 || (company && small.length > 0)) for (const pack of small) wasteful.add(pack)
  }
  const keep = living.filter((pack) => !wasteful.has(pack))
  return {
    remove,
    rewrite: living.filter((pack) => wasteful.has(pack)),
    keep: [...keep, ...inUse, ...damaged],
    belowThresholdBytes: deadBytes(keep),
    inUseBytes: deadBytes(inUse),
    damagedBytes: deadBytes(damaged),
  }
}
