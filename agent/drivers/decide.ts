// Decides for each disk of a machine whether its bitmap proves what changed since the base, or why it is read in full. Pure.
import type { LeftOutDisk, ReadKind, ReadReason } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { ByteRange } from '../nbd/reread.ts'
import { FILTERS, splitExcluded, type BitmapState } from '../qmp/disks.ts'
import type { LeaseBase, LeaseRequest } from './driver.ts'
import { parseCheckpoint } from './checkpoint-names.ts'
import { sameEvidence } from './evidence.ts'
import type { SeenDisk, SeenDisks } from './seen-disks.ts'

/** The image whose changes a bitmap records. */
export interface Continued {
  /** Name that the image has in the base. */
  readonly base: string
  readonly bitmap: BitmapState
}

/** How one disk will be read. */
export interface DiskDecision {
  readonly disk: SeenDisk
  readonly kind: ReadKind
  readonly reason: ReadReason
  /** Null for a full read. */
  readonly continued: Continued | null
  /** Ranges of an incremental read that count as changed. */
  readonly reread: readonly ByteRange[]
}

/** What the bitmaps on the machine's disks say about a base. */
interface BaseView extends Pick<LeaseRequest, 'agentId' | 'formerAgents'> {
  readonly base: LeaseBase | null
  readonly full: boolean
  /** On how many disks the checkpoint bitmap of each image of the base was found, by its number. */
  readonly holders: ReadonlyMap<number, number>
}

/** A checkpoint bitmap of the base on a disk. */
interface BaseBitmap {
  /** Of the base's disk that it speaks of. */
  readonly index: number
  /** What was below that disk is what is below this one. */
  readonly sameBelow: boolean
  readonly bitmap: BitmapState
}

/** The number of the base's disk of which a bitmap without number speaks: the one of the same files, or else of the same name. */
const unnumbered = ({ name, ownEvidence }: SeenDisk, { disks }: LeaseBase): number => {
  const same = disks.flatMap(({ evidence }, index) => (sameEvidence(evidence, ownEvidence) ? [index] : []))
  return same.length === 1 ? same[0]! : disks.findIndex((disk) => disk.name === name)
}

const baseBitmaps = (
  disk: SeenDisk,
  { agentId, formerAgents, base }: Pick<BaseView, 'agentId' | 'formerAgents' | 'base'>,
): BaseBitmap[] => {
  if (base === null || base.checkpoint === null) return []
  const { checkpoint } = base
  return [...new Set([agentId, ...formerAgents, base.agent])].flatMap((agent) =>
    disk.bitmaps.flatMap((bitmap) => {
      const part = parseCheckpoint(agent, bitmap.name)
      if (part?.kind !== 'cp' || part.lease !== checkpoint) return []
      const index = part.index ?? unnumbered(disk, base)
      const now = part.index === null ? disk.ownEvidence : disk.evidence
      return [{ index, bitmap, sameBelow: sameEvidence(base.disks[index]?.evidence ?? null, now) }]
    }),
  )
}

const viewOf = (
  disks: readonly SeenDisk[],
  request: Pick<LeaseRequest, 'agentId' | 'formerAgents' | 'base' | 'full'>,
): BaseView => {
  const holders = new Map<number, number>()
  for (const disk of disks)
    for (const { index } of baseBitmaps(disk, request)) holders.set(index, (holders.get(index) ?? 0) + 1)
  return { ...request, holders }
}

const full = (disk: SeenDisk, reason: ReadReason): DiskDecision => ({
  disk,
  kind: 'full',
  reason,
  continued: null,
  reread: [],
})

/** Why a disk without a bitmap of the base is read in full. */
const withoutBitmap = (
  disk: SeenDisk,
  { base, full: requested, agentId, formerAgents }: BaseView & { readonly base: LeaseBase },
): ReadReason => {
  const known = base.disks.find(({ name }) => name === disk.name)
  if (known === undefined) return 'disk-added'
  if (requested) return 'requested'
  if (!disk.holdsBitmaps || base.checkpoint === null) return 'no-bitmap'
  if (![agentId, ...formerAgents].includes(base.agent)) return 'moved'
  return known.size === disk.size ? 'bitmap-missing' : 'size-changed'
}

const stateReason = (bitmap: BitmapState): ReadReason | null => {
  if (bitmap.inconsistent) return 'bitmap-inconsistent'
  if (!bitmap.recording) return 'bitmap-disabled'
  // a bitmap that some other job or export uses cannot be merged from
  return bitmap.busy ? 'checkpoint-mismatch' : null
}

/**
 * Full or incremental, with the reason, for one disk. Incremental only where the bitmap of one image of the base, and of no
 * other, is on this disk and on no other, records, and the disk was never smaller since and has the same images below it.
 */
const decideDisk = (disk: SeenDisk, view: BaseView): DiskDecision => {
  const { base, holders } = view
  if (base === null) return full(disk, 'first')
  const [found, second] = baseBitmaps(disk, view)
  if (found === undefined) return full(disk, withoutBitmap(disk, { ...view, base }))
  const { index, bitmap, sameBelow } = found
  const known = base.disks[index]
  if (view.full) return full(disk, base.disks.some(({ name }) => name === disk.name) ? 'requested' : 'disk-added')
  if (known === undefined || second !== undefined || holders.get(index) !== 1) return full(disk, 'checkpoint-mismatch')
  if (known.size !== disk.size) return full(disk, 'size-changed')
  // the bitmap is on the filter: it misses writes to the image that bypass the filter
  if (FILTERS.has(disk.format)) return full(disk, 'checkpoint-mismatch')
  const reason = stateReason(bitmap)
  if (reason !== null) return full(disk, reason)
  if (!sameBelow) return full(disk, 'backing-changed')
  // an earlier backup found it so, whatever became of that one
  if (known.missed === true) return full(disk, 'changes-missed')
  if (known.reread === null) return full(disk, 'base-damaged')
  const continued = { base: known.name, bitmap }
  return { disk, kind: 'incremental', reason: 'bitmap', continued, reread: known.reread }
}

/** Filters that a job or another backup puts above a disk's node while it runs; the disk's bitmaps are then out of sight. */
const JOB_FILTERS: ReadonlySet<string> = new Set(['copy-before-write', 'backup-top', 'mirror_top', 'commit_top'])

export interface Decisions {
  readonly disks: readonly DiskDecision[]
  readonly leftOut: readonly LeftOutDisk[]
}

/** FULL_REFUSED when the policy refuses a full read for the disk's reason. */
export const refuseFullRead = (
  disk: string,
  kind: ReadKind,
  reason: ReadReason,
  refused: readonly ReadReason[],
): void => {
  if (kind !== 'full' || !refused.includes(reason)) return
  const sentence = `disk ${disk} would be read in full (${reason}), which the policy refuses`
  throw new VarveError('FULL_REFUSED', sentence, { details: { disk, reason } })
}

/** Disks of the base that the machine no longer has under any name. */
const unplugged = (base: LeaseBase | null, decisions: readonly DiskDecision[], seen: SeenDisks): LeftOutDisk[] => {
  const here = new Set([...seen.disks, ...seen.leftOut, ...(seen.refused ?? [])].map(({ name }) => name))
  const continued = new Set(decisions.map((decision) => decision.continued?.base))
  return (base?.disks ?? [])
    .filter(({ name }) => !here.has(name) && !continued.has(name))
    .map(({ name }) => ({ name, reason: 'unplugged' }))
}

/** The disks that no backup can hold right and that the configuration leaves out; DISK_UNSUPPORTED for any other such disk. */
const refuseUnfit = ({ refused = [] }: SeenDisks, exclude: readonly string[]): readonly LeftOutDisk[] => {
  const unfit = refused.find(({ name }) => !exclude.includes(name))
  if (unfit === undefined) return refused.map(({ name }) => ({ name, reason: 'excluded' }))
  const sentence = `disk ${unfit.name} cannot be backed up: ${unfit.why}`
  throw new VarveError('DISK_UNSUPPORTED', sentence, { details: { disk: unfit.name } })
}

/**
 * Decides for every disk that is not left out. DISK_UNSUPPORTED for one that cannot be held, or when none remains; LEASE_HELD
 * when another job has one; FULL_REFUSED and DISK_LEFT_OUT by the request's policy.
 */
export const decideDisks = (seen: SeenDisks, request: LeaseRequest): Decisions => {
  const { machine, base, refuseFull, refuseLeftOut } = request
  const unfit = refuseUnfit(seen, machine.exclude)
  const { disks: wanted, leftOut: others } = splitExcluded(seen, machine.exclude)
  const leftOut = [...others, ...unfit]
  if (wanted.length === 0) {
    const why = leftOut.map(({ name, reason }) => `${name}: ${reason}`).join(', ')
    const sentence = `machine ${machine.name} has no disk to back up${why === '' ? '' : ` (${why})`}`
    throw new VarveError('DISK_UNSUPPORTED', sentence)
  }
  const busy = wanted.find(({ format }) => JOB_FILTERS.has(format))
  if (busy !== undefined) {
    throw new VarveError('LEASE_HELD', `disk ${busy.name} is busy with another backup or block job of QEMU`, {
      details: { disk: busy.name, filter: busy.format },
    })
  }
  const view = viewOf(seen.disks, request)
  const byName = new Map(seen.disks.map((disk) => [disk.name, disk]))
  const decisions = wanted.map(({ name }) => decideDisk(byName.get(name)!, view))
  for (const { disk, kind, reason } of decisions) refuseFullRead(disk.name, kind, reason, refuseFull)
  const missing = [...leftOut, ...unplugged(base, decisions, seen)]
  const refused = missing.find(({ reason }) => refuseLeftOut.includes(reason))
  if (refused !== undefined) {
    const { name, reason } = refused
    const sentence = `disk ${name} would be left out (${reason}), which the policy refuses`
    throw new VarveError('DISK_LEFT_OUT', sentence, { details: { disk: name, reason } })
  }
  return { disks: decisions, leftOut: missing }
}
