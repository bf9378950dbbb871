// The journal entry of a lease that is about to begin, and QEMU's transaction for it. Pure.
import { join } from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import type { JsonValue } from '../../json-value.ts'
import { SOCKET_PATH_BYTES_MAX } from '../../socket-path.ts'
import type { BlockNode } from '../../qmp/disks.ts'
import type { Decisions } from '../decide.ts'
import { addBitmap, copyBitmap, type NodeBitmap, type TransactionAction } from './actions.ts'
import { CHECKPOINT_GRANULARITY_BYTES, type JournalDisk, type QmpEntry, QMP_DRIVER } from './entry.ts'
import type { LeaseRequest } from '../driver.ts'
import type { LeaseFolders } from '../scratch.ts'
import { writerSocket } from '../../push/control.ts'
import { parseCheckpoint } from '../checkpoint-names.ts'
import type { AccessOf } from './fleecing.ts'
import { modeOf } from './keys.ts'
import { leaseNames } from './names.ts'
import { pushGranularity } from './push-plan.ts'

/** Largest clusters that a qcow2 image may have, in bytes. */
const CLUSTER_BYTES_MAX = 2 * 1024 * 1024

/**
 * Granularity of a checkpoint's bitmap, in bytes: one bit for a chunk of the default size, or for a cluster where that is larger.
 * An image that is cut within a cluster keeps what it holds behind the cut, and the bit of a whole cluster is kept with it.
 */
export const checkpointGranularity = (clusterBytes: number | null): number => {
  const isSize = clusterBytes !== null && clusterBytes <= CLUSTER_BYTES_MAX && Number.isInteger(Math.log2(clusterBytes))
  return isSize ? Math.max(clusterBytes, CHECKPOINT_GRANULARITY_BYTES) : CHECKPOINT_GRANULARITY_BYTES
}

const pushNames = (
  names: ReturnType<typeof leaseNames>,
  index: number,
  continued: Decisions['disks'][number]['continued'],
  chunkBytes: number,
): NonNullable<JournalDisk['push']> => ({
  endSource: names.endSource(index),
  endTarget: names.endTarget(index),
  endNode: names.endNode(index),
  endJob: names.endJob(index),
  granularity: pushGranularity(continued?.bitmap.granularity ?? 0, chunkBytes),
})

/** The journal entry of a lease that is about to begin: everything it will make, by name. */
export const planLease = (
  request: LeaseRequest,
  { disks: decisions, leftOut }: Decisions,
  folders: LeaseFolders,
  configuration: JsonValue,
  accessOf: AccessOf = () => null,
): QmpEntry => {
  const { leaseId, agentId, machine, base } = request
  const names = leaseNames(agentId, leaseId)
  const scratchFolder = join(folders.scratch, leaseId)
  const socketFolder = join(folders.runtime, names.folder)
  const mode = modeOf(machine)
  const socketPath = mode === 'push' ? writerSocket(socketFolder) : join(socketFolder, 'nbd')
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
    throw new VarveError(
      'CONFIG_INVALID',
      `the folder for sockets, ${folders.runtime}, is too long for a UNIX socket's path (${SOCKET_PATH_BYTES_MAX} bytes): set TMPDIR to a shorter one`,
      {
        details: { bytesMax: SOCKET_PATH_BYTES_MAX },
      },
    )
  }
  const disks = decisions.map((decision, index): JournalDisk => {
    const { disk, kind, reason, continued, reread } = decision
    const access = accessOf(decision)
    return {
      name: disk.name,
      node: disk.node,
      size: disk.size,
      kind,
      reason,
      persistent: disk.persistentBitmaps,
      checkpoint: names.checkpoint(index),
      granularity: checkpointGranularity(disk.clusterBytes),
      base: continued && {
        name: continued.base,
        checkpoint: continued.bitmap.name,
        granularity: continued.bitmap.granularity,
      },
      evidence: disk.evidence,
      comparedChunks: 0,
      reread: reread.map(([offset, length]) => [offset, length]),
      compared: false,
      access: access && { node: names.accessNode(index), breaks: access.breaks },
      scratchNode: names.scratchNode(index),
      scratchFile: join(scratchFolder, `${index}.${access === null ? 'qcow2' : 'raw'}`),
      filterNode: names.filterNode(index),
      job: names.job(index),
      exportId: names.exportId(index),
      exportName: disk.name,
      ...(mode === 'push' ? { push: pushNames(names, index, continued, request.chunkBytes) } : {}),
    }
  })
  return {
    id: leaseId,
    agentId,
    formerAgents: [...request.formerAgents],
    machine: { name: machine.name, driver: QMP_DRIVER, address: machine.address, keys: machine.keys },
    phase: 'preparing',
    outcome: null,
    mode,
    transfer: names.transfer,
    baseLease: base?.checkpoint ?? null,
    baseAgent: base?.agent ?? null,
    refuseFull: [...request.refuseFull],
    compareAll: request.compare,
    leftOut: [...leftOut],
    scratchFolder,
    socketFolder,
    socketPath,
    timeMs: null,
    consistency: 'crash',
    consistencyNote: null,
    configuration,
    disks,
    older: { exports: [], nodes: [] },
  }
}

/** The node with a disk's transfer bitmap: a raw scratch file is not what is exported. */
export const transferNode = ({ node, scratchNode, access }: JournalDisk): string =>
  access === null ? scratchNode : node

const diskActions = (entry: QmpEntry, disk: JournalDisk): readonly TransactionAction[] => {
  const { node, scratchNode, persistent, base, access } = disk
  const checkpoint = addBitmap({
    node,
    name: disk.checkpoint,
    persistent,
    granularity: disk.granularity,
  })
  // with an overlay a broken copy would show newer bytes, silently
  const onError = access?.breaks === true ? { 'on-cbw-error': 'break-snapshot' } : {}
  const copy = {
    'job-id': disk.job,
    device: node,
    target: scratchNode,
    sync: 'none',
    'filter-node-name': disk.filterNode,
  }
  const backup: TransactionAction = { type: 'blockdev-backup', data: { ...copy, ...onError } }
  if (base === null) return [checkpoint, backup]
  // the base's bitmap is copied, not moved: it keeps recording until the commit
  const holder = transferNode(disk)
  const transfer = [
    addBitmap({ node: holder, name: entry.transfer, granularity: base.granularity, disabled: true }),
    copyBitmap(holder, entry.transfer, { node, name: base.checkpoint }),
  ]
  return [checkpoint, ...transfer, backup]
}

/** The one transaction that starts a lease: every disk's new checkpoint, transfer bitmap and copy of old blocks. */
export const transactionActions = (entry: QmpEntry): readonly TransactionAction[] =>
  entry.disks.flatMap((disk) => diskActions(entry, disk))

/** The agents whose checkpoints are a host's own: its current agent and its former ones. */
export const ownAgents = ({ agentId, formerAgents }: Pick<LeaseRequest, 'agentId' | 'formerAgents'>): string[] => [
  agentId,
  ...formerAgents,
]

/** The checkpoint bitmaps of these agents, on nodes that are not read-only, of the leases selected. */
export const checkpointBitmaps = (
  nodes: readonly BlockNode[],
  agents: readonly string[],
  isWanted: (lease: string) => boolean,
): readonly NodeBitmap[] =>
  nodes
    .filter(({ node, readOnly }) => node !== '' && !readOnly)
    .flatMap(({ node, bitmaps }) =>
      bitmaps
        .filter(({ name }) => {
          const parts = agents.map((agent) => parseCheckpoint(agent, name))
          return parts.some((part) => part !== null && isWanted(part.lease))
        })
        .map(({ name }) => ({ node, name })),
    )
