// Names of what Varve makes in libvirt, by which it recognises its own.
//
//   varve-<agent>-cp-<lease>     checkpoint, and its bitmap in each image
//   varve-<agent>-<lease tail>   folder of a backup's NBD socket, whose path tells whose backup runs
//
// libvirt calls all bitmaps of a checkpoint alike, so a name does not tell which image of the point a disk continues: the
// evidence of these disks has the identity of their own files.

import { basename, dirname, join } from 'node:path'
import { leaseTail, socketFolderName } from '../qmp/names.ts'
import { ownPrefix } from '../checkpoint-names.ts'

/** The lease whose checkpoint this is, of any of these agents; null for somebody else's. */
export const leaseOfCheckpoint = (name: string, agents: readonly string[]): string | null => {
  const prefix = agents.map((agent) => `${ownPrefix(agent)}-cp-`).find((own) => name.startsWith(own))
  return prefix === undefined || name.length === prefix.length ? null : name.slice(prefix.length)
}

/** The form of the names of all checkpoints that any agent makes. */
export const VARVE_CHECKPOINT = /^varve-[0-9a-z]{8}-cp-./

/** Name of the bitmap that an export shows as its changed blocks. */
export const EXPORT_BITMAP = 'varve'

const SOCKET_NAME = 'nbd'

/** The folder of a lease's socket. */
export const socketFolderOf = (runtimeFolder: string, agentId: string, leaseId: string): string =>
  join(runtimeFolder, socketFolderName(agentId, leaseTail(leaseId)))

export const socketPathOf = (socketFolder: string): string => join(socketFolder, SOCKET_NAME)

const SOCKET_FOLDER = /^varve-[0-9a-z]{8}-[0-9a-z]{1,10}$/

/** Of a running backup's socket: the folder that Varve made for it, and whether it is one of these agents'; null if foreign. */
export const socketOwner = (
  socketPath: string,
  agents: readonly string[],
): { readonly folder: string; readonly isOurs: boolean } | null => {
  const folder = dirname(socketPath)
  const name = basename(folder)
  if (basename(socketPath) !== SOCKET_NAME || !SOCKET_FOLDER.test(name)) return null
  return { folder, isOurs: agents.some((agent) => name.startsWith(`${ownPrefix(agent)}-`)) }
}
