// Names of everything Varve makes in a QEMU besides checkpoints, by which it recognises its own.
//
//   varve-<agent>-xfer-<lease>        transfer bitmap, on a scratch node or the disk's own
//   varve-<agent>-<lease tail>-<i>    scratch node (QEMU allows 31 characters); with suffix f its job's filter, with x the
//                                     snapshot-access node over that (older agents had others with suffix s)
//                                     In mode push: with suffixes s, t and r what sets the bit of a disk's end, for a moment
//   varve-<agent>-job-<lease>-<i>     backup job; in mode push with suffix s the one that sets that bit
//   varve-<agent>-exp-<lease>-<i>     export
//
// <agent> is as in the names of checkpoints.

import { checkpointName, ownPrefix, tail } from '../checkpoint-names.ts'

const LEASE_TAIL_CHARS = 10

/** The names of one lease; `index` counts its disks. */
export const leaseNames = (agentId: string, leaseId: string) => {
  const own = ownPrefix(agentId)
  return {
    checkpoint: (index: number): string => checkpointName(agentId, leaseId, index),
    transfer: `${own}-xfer-${leaseId}`,
    folder: socketFolderName(agentId, leaseTail(leaseId)),
    scratchNode: (index: number): string => `${own}-${leaseTail(leaseId)}-${index}`,
    endSource: (index: number): string => `${own}-${leaseTail(leaseId)}-${index}s`,
    endTarget: (index: number): string => `${own}-${leaseTail(leaseId)}-${index}t`,
    endNode: (index: number): string => `${own}-${leaseTail(leaseId)}-${index}r`,
    filterNode: (index: number): string => `${own}-${leaseTail(leaseId)}-${index}f`,
    accessNode: (index: number): string => `${own}-${leaseTail(leaseId)}-${index}x`,
    job: (index: number): string => `${own}-job-${leaseId}-${index}`,
    endJob: (index: number): string => `${own}-job-${leaseId}-${index}s`,
    exportId: (index: number): string => `${own}-exp-${leaseId}-${index}`,
  }
}

/** The part of a lease's names that its folders and scratch nodes carry. */
export const leaseTail = (leaseId: string): string => tail(leaseId, LEASE_TAIL_CHARS)

/** Name of a lease's folder of sockets, by its tail. */
export const socketFolderName = (agentId: string, leaseTailText: string): string =>
  `${ownPrefix(agentId)}-${leaseTailText}`

/** Of a node of any agent's: its socket folder's name; null when it is no node that Varve added. */
export const scratchNodeParts = (node: string): { readonly folder: string } | null => {
  const folder = /^(varve-[0-9a-z]{8}-[0-9a-z]{1,10})-[0-9]+[stx]?$/.exec(node)?.[1]
  return folder === undefined ? null : { folder }
}

/** Recognises objects with this agent's names; `scratchTail` gives the lease's part of the name of a node that it added. */
export const ownNames = (agentId: string) => {
  const own = ownPrefix(agentId)
  const node = new RegExp(`^${own}-([0-9a-z]{1,${LEASE_TAIL_CHARS}})-[0-9]+[stx]?$`)
  return {
    isJob: (id: string): boolean => id.startsWith(`${own}-job-`),
    isTransfer: (name: string): boolean => name.startsWith(`${own}-xfer-`),
    isExport: (id: string): boolean => id.startsWith(`${own}-exp-`),
    scratchTail: (name: string): string | null => node.exec(name)?.[1] ?? null,
  }
}

const TRANSFER = /^varve-[0-9a-z]{8}-xfer-/

/** Whether a bitmap is a lease's transfer bitmap, of any agent's: it says nothing once the lease has ended. */
export const isTransferBitmap = (name: string): boolean => TRANSFER.test(name)
