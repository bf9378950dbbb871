// Decides for each disk of a lease that somebody else holds whether its bitmap proves what changed since the base. Pure.
//
// Neither the bitmap's name nor that its holder calls it reused says at which instant it began. What does: it is the one that a
// backup of this agent has committed, in the same process, of a disk of the same size, and the base is that very restore point.
// A bitmap that was begun anew since, in a backup that came to nothing, lacks what that backup saw in it; one that has all of it
// makes an increment that is right, whenever it began.

import type { LeftOutDisk, ReadKind, ReadReason } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { ByteRange } from '../../nbd/reread.ts'
import type { ProcessMark } from '../../process-mark.ts'
import { refuseFullRead } from '../decide.ts'
import type { BaseDisk, LeaseRequest } from '../driver.ts'
import type { SeenExport } from './look.ts'
import type { KnownDisk } from './records.ts'

/** How one disk will be read. */
export interface GivenDecision {
  readonly seen: SeenExport
  readonly kind: ReadKind
  readonly reason: ReadReason
  /** Of an increment: the image of the base, by its name. */
  readonly base: string | null
  readonly reread: readonly ByteRange[]
  /** What is not proved of a bitmap that is said to be reused, as a clause; null for nothing. */
  readonly doubt: string | null
}

export interface GivenDecisions {
  readonly disks: readonly GivenDecision[]
  readonly leftOut: readonly LeftOutDisk[]
}

type Wishes = Pick<LeaseRequest, 'base' | 'full' | 'agentId' | 'formerAgents' | 'chunkBytes'>

const isSame = (one: ProcessMark | null, other: ProcessMark | null): boolean =>
  one !== null &&
  other !== null &&
  one.pid === other.pid &&
  one.startTicks === other.startTicks &&
  one.boot === other.boot

/** Whether all of `inner` lies in `outer`; both ascend, and neighbours are joined. */
export const covers = (outer: readonly ByteRange[], inner: readonly ByteRange[]): boolean => {
  let at = 0
  return inner.every(([offset, length]) => {
    while (at < outer.length && outer[at]![0] + outer[at]![1] <= offset) at++
    const [from, bytes] = outer[at] ?? [Infinity, 0]
    return from <= offset && offset + length <= from + bytes
  })
}

/** Whether ranges are whole chunks, of which the disk's last may be short. */
const areChunks = (ranges: readonly ByteRange[], size: number, chunkBytes: number): boolean =>
  ranges.every(
    ([offset, length]) => offset % chunkBytes === 0 && (offset + length === size || length % chunkBytes === 0),
  )

/** What is not proved of a bitmap that is said to be reused, with the reason that a full read has; null for nothing. */
const doubtOf = (
  { disk, size, exporter, changed, clips }: SeenExport,
  known: KnownDisk | undefined,
  { checkpoint, chunkBytes }: { readonly checkpoint: string | null; readonly chunkBytes: number },
): string | null => {
  if (known === undefined) return 'no backup of this agent has committed a bitmap of this disk'
  if (known.bitmap !== disk.bitmap) return `the last one had the bitmap ${known.bitmap}`
  if (known.point !== checkpoint) return 'the newest restore point is not the one at which the bitmap began'
  if (known.size !== size) return `the disk had ${known.size} bytes then, and has ${size} now`
  if (known.exporter === null || exporter === null) return 'it cannot be seen which process has the bitmap'
  if (!isSame(known.exporter, exporter)) return 'another process has the bitmap than then'
  // where no backup has failed since there is nothing that it could lack
  if (known.seen?.length !== 0) {
    if (known.seen === null || changed === null)
      return 'it has too many changes to compare them with those of a failed backup'
    if (!covers(changed, known.seen)) return 'it lacks changes that a failed backup has seen in it: it was begun anew'
  }
  return clips && changed !== null && !areChunks(changed, size, chunkBytes)
    ? `it has parts of chunks of ${chunkBytes} bytes, whose rest cannot be read`
    : null
}

const full = (seen: SeenExport, reason: ReadReason, doubt: string | null = null): GivenDecision => ({
  seen,
  kind: 'full',
  reason,
  base: null,
  reread: [],
  doubt,
})

const withBase = (
  seen: SeenExport,
  known: KnownDisk | undefined,
  { base, full: requested, agentId, formerAgents, chunkBytes }: Wishes & { readonly base: NonNullable<Wishes['base']> },
): GivenDecision => {
  const { disk, size, clips } = seen
  const before: BaseDisk | undefined = base.disks.find(({ name }) => name === disk.name)
  if (before === undefined) return full(seen, 'disk-added')
  if (requested) return full(seen, 'requested')
  if (disk.state === 'none') return full(seen, 'no-bitmap')
  if (before.size !== size) return full(seen, 'size-changed')
  const isOurs = [agentId, ...formerAgents].includes(base.agent)
  if (disk.state === 'new') return full(seen, isOurs ? 'bitmap-missing' : 'moved')
  const doubt = doubtOf(seen, known, { checkpoint: base.checkpoint, chunkBytes })
  if (doubt !== null) return full(seen, isOurs ? 'checkpoint-mismatch' : 'moved', doubt)
  if (before.missed === true) return full(seen, 'changes-missed')
  // what the gateway lost is not changed, and cannot be read where only changes can
  if (before.reread === null || (clips && before.reread.length > 0)) return full(seen, 'base-damaged')
  return { seen, kind: 'incremental', reason: 'bitmap', base: before.name, reread: before.reread, doubt: null }
}

/** One decision for each export, and the disks of the base that the lease does not have. */
export const decideGiven = (
  exports: readonly SeenExport[],
  known: readonly KnownDisk[],
  request: Wishes,
): GivenDecisions => {
  const { base } = request
  const disks = exports.map((seen) => {
    if (base === null) return full(seen, 'first')
    const before = known.find(({ name }) => name === seen.disk.name)
    return withBase(seen, before, { ...request, base })
  })
  const here = new Set(exports.map(({ disk }) => disk.name))
  const missing = (base?.disks ?? []).filter(({ name }) => !here.has(name))
  return { disks, leftOut: missing.map(({ name }) => ({ name, reason: 'unplugged' })) }
}

/** BITMAP_UNPROVED for a disk that must be read in full and can be read only where its bitmap says. */
const refuseClipped = ({ seen, kind, reason, doubt }: GivenDecision): void => {
  if (kind !== 'full' || !seen.clips) return
  const { name, bitmap } = seen.disk
  const why = doubt === null ? '' : `: ${doubt}`
  const sentence = `disk ${name} must be read in full (${reason}${why}), and its export answers only within its bitmap ${bitmap}: end this lease as failed, and give one with a new bitmap`
  throw new VarveError('BITMAP_UNPROVED', sentence, { details: { disk: name, reason } })
}

/** FULL_REFUSED and DISK_LEFT_OUT by the request's policy, BITMAP_UNPROVED. */
export const refuseGiven = (
  { disks, leftOut }: GivenDecisions,
  { refuseFull, refuseLeftOut }: Pick<LeaseRequest, 'refuseFull' | 'refuseLeftOut'>,
): void => {
  for (const one of disks) {
    refuseFullRead(one.seen.disk.name, one.kind, one.reason, refuseFull)
    refuseClipped(one)
  }
  const refused = leftOut.find(({ reason }) => refuseLeftOut.includes(reason))
  if (refused === undefined) return
  const { name, reason } = refused
  const sentence = `disk ${name} would be left out (${reason}), which the policy refuses`
  throw new VarveError('DISK_LEFT_OUT', sentence, { details: { disk: name, reason } })
}
