// Names of everything Varve makes in a QEMU, by which it recognises its own.
//
//   varve-<agent>-cp-<lease>-<i>      checkpoint bitmap of disk i
//   varve-<agent>-size-<lease>-<i>    its size mark: a bitmap that never records and whose last bit a shrunk disk loses
//   varve-<agent>-xfer-<lease>        transfer bitmap on a scratch node
//   varve-<agent>-<lease tail>-<i>    scratch node (QEMU allows 31 characters); with suffix f its job's filter, with
//                                     suffix s the node from which a size mark gets its bit
//   varve-<agent>-job-<lease>-<i>     backup job
//   varve-<agent>-exp-<lease>-<i>     export; with suffix s that of a size mark's node
//
// A checkpoint's bitmaps are in the images they describe, so their numbers, and not the disks' current names, show which
// image of the restore point a disk continues.
//
// <agent> is the last eight letters or digits of the agent's id: the first ones of time-ordered ids are the same for
// agents that were enrolled together.

import { VarveError } from '../../../protocol/errors.ts'

const AGENT_TAG_CHARS = 8
const LEASE_TAIL_CHARS = 10

const ownPrefix = (agentId: string): string => `varve-${agentTag(agentId)}`

const tail = (id: string, chars: number): string =>
  id
    .toLowerCase()
    .replaceAll(/[^0-9a-z]/g, '')
    .slice(-chars)

/** The agent's part of every name. */
export const agentTag = (agentId: string): string => {
  const tag = tail(agentId, AGENT_TAG_CHARS)
  if (tag.length < AGENT_TAG_CHARS) {
    throw new VarveError('PARAMS_INVALID', `an agent id has at least ${AGENT_TAG_CHARS} letters or digits`)
  }
  return tag
}

/** The checkpoint bitmap of a lease's disk. */
export const checkpointName = (agentId: string, leaseId: string, index: number): string =>
  `${ownPrefix(agentId)}-cp-${leaseId}-${index}`

/** The size mark that goes with a checkpoint bitmap. */
export const sizeMarkName = (agentId: string, leaseId: string, index: number): string =>
  `${ownPrefix(agentId)}-size-${leaseId}-${index}`

/** The checkpoint that a bitmap is part of. */
export interface CheckpointPart {
  readonly kind: 'cp' | 'size'
  readonly lease: string
  readonly index: number
}

/** Reads the name of a checkpoint bitmap or a size mark of this agent; null for every other bitmap. */
export const parseCheckpoint = (agentId: string, name: string): CheckpointPart | null => {
  const own = `${ownPrefix(agentId)}-`
  if (!name.startsWith(own)) return null
  const parts = /^(cp|size)-(.+)-(0|[1-9][0-9]{0,3})$/.exec(name.slice(own.length))
  if (parts === null) return null
  return { kind: parts[1] === 'cp' ? 'cp' : 'size', lease: parts[2]!, index: Number(parts[3]) }
}

/** The names of one lease; `index` counts its disks. */
export const leaseNames = (agentId: string, leaseId: string) => {
  const own = ownPrefix(agentId)
  return {
    checkpoint: (index: number): string => checkpointName(agentId, leaseId, index),
    sizeMark: (index: number): string => sizeMarkName(agentId, leaseId, index),
    transfer: `${own}-xfer-${leaseId}`,
    folder: socketFolderName(agentId, leaseTail(leaseId)),
    scratchNode: (index: number): string => `${own}-${leaseTail(leaseId)}-${index}`,
    filterNode: (index: number): string => `${own}-${leaseTail(leaseId)}-${index}f`,
    sizeNode: (index: number): string => `${own}-${leaseTail(leaseId)}-${index}s`,
    job: (index: number): string => `${own}-job-${leaseId}-${index}`,
    exportId: (index: number): string => `${own}-exp-${leaseId}-${index}`,
    sizeExportId: (index: number): string => `${own}-exp-${leaseId}-${index}s`,
  }
}

/** The part of a lease's names that its folders and scratch nodes carry. */
export const leaseTail = (leaseId: string): string => tail(leaseId, LEASE_TAIL_CHARS)

/** Name of a lease's folder of sockets, by its tail. */
export const socketFolderName = (agentId: string, leaseTailText: string): string =>
  `${ownPrefix(agentId)}-${leaseTailText}`

/** Of a node of any agent's: its socket folder's name; null when it is no node that Varve added. */
export const scratchNodeParts = (node: string): { readonly folder: string } | null => {
  const folder = /^(varve-[0-9a-z]{8}-[0-9a-z]{1,10})-[0-9]+s?$/.exec(node)?.[1]
  return folder === undefined ? null : { folder }
}

/** Recognises objects with this agent's names; `scratchTail` gives the lease's part of the name of a node that it added. */
export const ownNames = (agentId: string) => {
  const own = ownPrefix(agentId)
  const node = new RegExp(`^${own}-([0-9a-z]{1,${LEASE_TAIL_CHARS}})-[0-9]+s?$`)
  return {
    isJob: (id: string): boolean => id.startsWith(`${own}-job-`),
    isExport: (id: string): boolean => id.startsWith(`${own}-exp-`),
    scratchTail: (name: string): string | null => node.exec(name)?.[1] ?? null,
  }
}
