// A backup of Varve's that is in no journal entry: what a damaged entry left behind.

import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { LibvirtCaller, LibvirtDomain } from '../../libvirt/types.ts'
import { leaseTail } from '../qmp/names.ts'
import { libvirtEntries } from './entry.ts'
import { hideCheckpoints } from './finish.ts'
import type { LibvirtHost } from './host.ts'
import { endBackup, readBackup } from './job.ts'
import { socketOwner } from './names.ts'

/** Ends a backup whose socket is one that these agents make, unless the journal knows it, and removes its folders. */
export const removeOrphan = async (
  host: LibvirtHost,
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  agents: readonly string[],
): Promise<void> => {
  const backup = await readBackup(caller, domain)
  const owner = backup === null ? null : socketOwner(backup.socketPath, agents)
  const entries = await libvirtEntries(host.journal)
  // a lease's checkpoint is in libvirt's list until the lease ends
  if (!entries.some(({ uuid }) => uuid === domain.uuid)) await hideCheckpoints(host, caller, domain, agents)
  if (backup === null || owner === null || !owner.isOurs) return
  const { socketPath } = backup
  if (entries.some((entry) => entry.socketPath === socketPath)) return
  host.log.warn({ domain: domain.name, socket: socketPath }, 'ending a backup that the journal does not know')
  await endBackup(caller, domain, socketPath)
  await rm(owner.folder, { recursive: true, force: true })
  const { scratch } = host.folders
  for (const name of await readdir(scratch).catch(() => [])) {
    if (owner.folder.endsWith(`-${leaseTail(name)}`)) await rm(join(scratch, name), { recursive: true, force: true })
  }
}
