// What a lease in mode push plans in its own way: which disks may be read by their bitmaps, and what its transaction does. Pure.
import { refuseFullRead, type Decisions, type DiskDecision } from '../decide.ts'
import { sizeMarkOf } from '../checkpoint-names.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { BlockNode } from '../../qmp/disks.ts'
import type { LeaseRequest } from '../driver.ts'
import type { ReadReason } from '../../../protocol/backup.ts'
import { BLOCK_BYTES } from '../../push/written.ts'
import type { JournalDisk, QmpEntry } from './entry.ts'
import { addBitmap, copyBitmap, type TransactionAction } from './actions.ts'

/** Bytes that QEMU copies at once, in how many requests: of its memory a job takes their product. */
const WORKERS_MAX = 16
const CHUNK_BYTES_MAX = 1024 * 1024

/** Why QEMU can not be had write what changed since the base; null where it can. */
const whyFull = ({ continued, reread, disk }: DiskDecision, request: LeaseRequest): ReadReason | null => {
  if (continued === null) return null
  // what is unchanged is not here to be compared
  if (request.compare) return 'requested'
  // a bitmap takes no ranges of anybody else's
  if (reread.length > 0) return 'base-damaged'
  const mark = sizeMarkOf(continued.bitmap.name)
  const found = disk.bitmaps.find(({ name }) => name === mark)
  // the base was made in another mode
  if (found === undefined || found.inconsistent) return 'checkpoint-mismatch'
  return found.count > 0 ? null : 'size-changed'
}

/** Whether the base's marks still show that no disk has been made smaller since; a job has begun by them. */
export const haveMarks = ({ disks }: Pick<QmpEntry, 'disks'>, nodes: readonly BlockNode[]): boolean =>
  disks.every(({ node, base }) => {
    if (base === null) return true
    const mark = sizeMarkOf(base.checkpoint)
    const found = nodes.find((one) => one.node === node)?.bitmaps.find(({ name }) => name === mark)
    return found !== undefined && !found.inconsistent && found.count > 0
  })

/** The decisions as mode push can carry them out; FULL_REFUSED. */
export const decidePush = ({ disks, leftOut }: Decisions, request: LeaseRequest): Decisions => ({
  leftOut,
  disks: disks.map((decision) => {
    const reason = whyFull(decision, request)
    if (reason === null) return decision
    refuseFullRead(decision.disk.name, 'full', reason, request.refuseFull)
    return { ...decision, kind: 'full', reason, continued: null, reread: [] }
  }),
})

/** Granularity of the bitmap that a job copies by, in bytes: whole chunks, as a part of one could not be completed. */
export const pushGranularity = (granularity: number, chunkBytes: number): number =>
  Math.max(granularity, chunkBytes, BLOCK_BYTES)

/** The tuning that this QEMU's jobs take. */
const tuning = (has: boolean): Readonly<Record<string, unknown>> =>
  has ? { 'x-perf': { 'use-copy-range': false, 'max-workers': WORKERS_MAX, 'max-chunk': CHUNK_BYTES_MAX } } : {}

const diskActions = (
  entry: QmpEntry,
  disk: JournalDisk,
  { hasTuning }: { readonly hasTuning: boolean },
): readonly TransactionAction[] => {
  const { node, scratchNode, persistent, base, checkpoint, granularity, push } = disk
  const mark = sizeMarkOf(checkpoint)
  const end = { node: push!.endNode, name: mark }
  const made = [
    addBitmap({ node, name: checkpoint, persistent, granularity }),
    // it has the bit of the disk's end, which QEMU drops when the disk is made smaller
    addBitmap({ node, name: mark, persistent, granularity: BLOCK_BYTES, disabled: true }),
    copyBitmap(node, mark, end),
  ]
  const common = {
    'job-id': disk.job,
    device: node,
    target: scratchNode,
    'filter-node-name': disk.filterNode,
    // its end is looked at, whenever that is
    'auto-dismiss': false,
    'on-source-error': 'report',
    'on-target-error': 'report',
    ...tuning(hasTuning),
  }
  if (base === null) return [...made, { type: 'blockdev-backup', data: { ...common, sync: 'full' } }]
  return [
    ...made,
    // the base's bitmap is copied, not moved: it keeps recording until the commit
    addBitmap({ node, name: entry.transfer, granularity: push!.granularity, disabled: true }),
    copyBitmap(node, entry.transfer, { node, name: base.checkpoint }),
    // and the disk's end always comes with it: a disk that was smaller by less than a block has lost that
    copyBitmap(node, entry.transfer, end),
    {
      type: 'blockdev-backup',
      data: { ...common, sync: 'bitmap', bitmap: entry.transfer, 'bitmap-mode': 'never' },
    },
  ]
}

/** The one transaction that starts a lease: every disk's new checkpoint, and the job that writes it. */
export const pushActions = (entry: QmpEntry, has: { readonly hasTuning: boolean }): readonly TransactionAction[] =>
  entry.disks.flatMap((disk) => diskActions(entry, disk, has))

/** What the job of a disk must have written at least, in bytes of whole blocks: all that its bitmap holds. */
export const heldBytes = (entry: QmpEntry, { node, size, base }: JournalDisk, nodes: readonly BlockNode[]): number => {
  if (base === null) return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES
  const found = nodes.find((one) => one.node === node)?.bitmaps.find(({ name }) => name === entry.transfer)
  if (found === undefined) throw new VarveError('LEASE_LOST', `the bitmap that node ${node} is copied by is gone`)
  const { count, granularity } = found
  // its last bit, which is always there, may stand for less
  const last = size % granularity === 0 ? granularity : Math.ceil((size % granularity) / BLOCK_BYTES) * BLOCK_BYTES
  return count - granularity + last
}
