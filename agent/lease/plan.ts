// Decides what a lease will read and why, and builds QEMU's transaction for it. Pure.

import { join } from 'node:path'
import type { ReadKind, ReadReason } from '../../protocol/backup.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { JsonValue } from '../qmp/configuration.ts'
import type { BitmapState, BlockNode, MachineDisk } from '../qmp/disks.ts'
import type { JournalDisk, JournalEntry } from './journal.ts'
import type { LeaseBase, LeaseRequest } from './lease.ts'
import { checkpointName, checkpointPrefix, leaseNames } from './names.ts'

/** Granularity of a checkpoint's bitmap, in bytes: one bit for a chunk of the default size. */
export const CHECKPOINT_GRANULARITY_BYTES = 65_536

/** Longest path of a unix socket, in bytes. */
export const SOCKET_PATH_BYTES_MAX = 107

/** How one disk will be read. */
export interface DiskDecision {
  readonly disk: MachineDisk
  readonly kind: ReadKind
  readonly reason: ReadReason
  readonly bitmap: BitmapState | null
  /** Ranges of an incremental read that count as changed. */
  readonly reread: readonly (readonly [number, number])[]
}

const fullReason = (
  disk: MachineDisk,
  base: LeaseBase | null,
  bitmap: BitmapState | null,
  full: boolean,
): ReadReason | null => {
  if (base === null) return 'first'
  const known = base.disks.find(({ name }) => name === disk.name)
  if (known === undefined) return 'disk-added'
  if (full) return 'requested'
  if (known.size !== disk.size) return 'size-changed'
  if (bitmap === null) return 'bitmap-missing'
  if (bitmap.inconsistent) return 'bitmap-inconsistent'
  if (!bitmap.recording) return 'bitmap-disabled'
  // a bitmap that some other job or export uses cannot be merged from
  if (bitmap.busy) return 'checkpoint-mismatch'
  if (known.reread === null) return 'base-damaged'
  return null
}

/** Full or incremental, with the reason, for one disk. */
export const decideDisk = (
  disk: MachineDisk,
  request: Pick<LeaseRequest, 'agentId' | 'base' | 'full'>,
): DiskDecision => {
  const { base } = request
  const wanted = base === null ? null : checkpointName(request.agentId, base.checkpoint)
  const bitmap = disk.bitmaps.find(({ name }) => name === wanted) ?? null
  const reason = fullReason(disk, base, bitmap, request.full)
  if (reason !== null) return { disk, kind: 'full', reason, bitmap: null, reread: [] }
  const reread = base?.disks.find(({ name }) => name === disk.name)?.reread ?? []
  return { disk, kind: 'incremental', reason: 'bitmap', bitmap, reread }
}

/** Filters that a job or another backup puts above a disk's node while it runs; the disk's bitmaps are then out of sight. */
const JOB_FILTERS: ReadonlySet<string> = new Set(['copy-before-write', 'backup-top', 'mirror_top', 'commit_top'])

/**
 * Decides for every disk that is not excluded. DISK_UNSUPPORTED when none is left, LEASE_HELD when another job has one,
 * FULL_REFUSED by the request's policy.
 */
export const decideDisks = (disks: readonly MachineDisk[], request: LeaseRequest): readonly DiskDecision[] => {
  const wanted = disks.filter(({ name }) => !request.machine.exclude.includes(name))
  if (wanted.length === 0) {
    throw new VarveError('DISK_UNSUPPORTED', `Machine ${request.machine.name} has no disk to back up.`)
  }
  const busy = wanted.find(({ format }) => JOB_FILTERS.has(format))
  if (busy !== undefined) {
    throw new VarveError('LEASE_HELD', `Disk ${busy.name} is busy with another backup or block job of QEMU.`, {
      details: { disk: busy.name, filter: busy.format },
    })
  }
  const decisions = wanted.map((disk) => decideDisk(disk, request))
  const refused = decisions.find(({ kind, reason }) => kind === 'full' && request.refuseFull.includes(reason))
  if (refused !== undefined) {
    const { disk, reason } = refused
    throw new VarveError(
      'FULL_REFUSED',
      `Disk ${disk.name} would be read in full (${reason}), which the policy refuses.`,
      {
        details: { disk: disk.name, reason },
      },
    )
  }
  return decisions
}

export interface LeaseFolders {
  /** Holds a folder for each lease, named by its id. */
  readonly scratch: string
  /** Holds a folder with a short name for each lease's sockets. */
  readonly runtime: string
}

/** The journal entry of a lease that is about to begin: everything it will make, by name. */
export const planLease = (
  request: LeaseRequest,
  decisions: readonly DiskDecision[],
  folders: LeaseFolders,
  configuration: JsonValue,
): JournalEntry => {
  const { leaseId, agentId, machine, base } = request
  const names = leaseNames(agentId, leaseId)
  const scratchFolder = join(folders.scratch, leaseId)
  const socketFolder = join(folders.runtime, names.folder)
  const socketPath = join(socketFolder, 'nbd')
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
    throw new VarveError('CONFIG_INVALID', `The runtime folder ${folders.runtime} is too long for a unix socket.`, {
      details: { bytesMax: SOCKET_PATH_BYTES_MAX },
    })
  }
  const disks = decisions.map(({ disk, kind, reason, bitmap, reread }, index): JournalDisk => ({
    name: disk.name,
    node: disk.node,
    size: disk.size,
    kind,
    reason,
    persistent: disk.persistentBitmaps,
    baseGranularity: bitmap?.granularity ?? null,
    reread: reread.map(([offset, length]) => [offset, length]),
    scratchNode: names.scratchNode(index),
    scratchFile: join(scratchFolder, `${index}.qcow2`),
    job: names.job(index),
    exportId: names.exportId(index),
    exportName: disk.name,
  }))
  return {
    version: 1,
    id: leaseId,
    agentId,
    machine: { name: machine.name, qmp: machine.qmp, guestAgent: machine.guestAgent },
    phase: 'preparing',
    outcome: null,
    checkpoint: names.checkpoint,
    transfer: names.transfer,
    baseCheckpoint: base === null ? null : checkpointName(agentId, base.checkpoint),
    scratchFolder,
    socketFolder,
    socketPath,
    timeMs: null,
    consistency: 'crash',
    consistencyNote: null,
    configuration,
    disks,
  }
}

export interface TransactionAction {
  readonly type: 'block-dirty-bitmap-add' | 'block-dirty-bitmap-merge' | 'blockdev-backup'
  readonly data: Readonly<Record<string, unknown>>
}

const diskActions = (entry: JournalEntry, disk: JournalDisk): readonly TransactionAction[] => {
  const { node, scratchNode } = disk
  const checkpoint: TransactionAction = {
    type: 'block-dirty-bitmap-add',
    data: { node, name: entry.checkpoint, persistent: disk.persistent, granularity: CHECKPOINT_GRANULARITY_BYTES },
  }
  const backup: TransactionAction = {
    type: 'blockdev-backup',
    data: { 'job-id': disk.job, device: node, target: scratchNode, sync: 'none' },
  }
  if (disk.baseGranularity === null || entry.baseCheckpoint === null) return [checkpoint, backup]
  // the base's bitmap is copied, not moved: it keeps recording until the commit
  const transfer: TransactionAction = {
    type: 'block-dirty-bitmap-add',
    data: { node: scratchNode, name: entry.transfer, granularity: disk.baseGranularity, disabled: true },
  }
  const merge: TransactionAction = {
    type: 'block-dirty-bitmap-merge',
    data: { node: scratchNode, target: entry.transfer, bitmaps: [{ node, name: entry.baseCheckpoint }] },
  }
  return [checkpoint, transfer, merge, backup]
}

/** The one transaction that starts a lease: every disk's new checkpoint, transfer bitmap and copy of old blocks. */
export const transactionActions = (entry: JournalEntry): readonly TransactionAction[] =>
  entry.disks.flatMap((disk) => diskActions(entry, disk))

export interface NodeBitmap {
  readonly node: string
  readonly name: string
}

/** This agent's checkpoint bitmaps that are neither kept nor on a read-only node. */
export const obsoleteBitmaps = (
  nodes: readonly BlockNode[],
  agentId: string,
  keep: ReadonlySet<string>,
): readonly NodeBitmap[] => {
  const prefix = checkpointPrefix(agentId)
  return nodes
    .filter(({ node, readOnly }) => node !== '' && !readOnly)
    .flatMap(({ node, bitmaps }) =>
      bitmaps.filter(({ name }) => name.startsWith(prefix) && !keep.has(name)).map(({ name }) => ({ node, name })),
    )
}
