// Ends a lease for good: removes its daemon, its snapshot, its folder and its journal entry, in this order.

import type { LeaseOutcome } from '../driver.ts'
import { endDaemon } from './daemon.ts'
import { writeEntry, type OfflineEntry } from './entry.ts'
import { leaseFolders, removeLeaseFolder } from './folder.ts'
import type { OfflineHost } from './host.ts'
import { removeSnapshot } from './snapshot.ts'

/** Removes exactly what the entry's lease made, then the entry; the disks themselves were never written. */
export const finishLease = async (host: OfflineHost, entry: OfflineEntry, outcome: LeaseOutcome): Promise<void> => {
  const { folder, snapshot } = entry
  await writeEntry(host.journal, { ...entry, phase: 'ending', outcome: entry.outcome ?? outcome })
  // first, so that the machine can start again
  await host.act(() => endDaemon(folder))
  if (snapshot !== null) await removeSnapshot(host, snapshot)
  await removeLeaseFolder(folder)
  await host.journal.remove(entry.id)
}

/** Removes leases of which the journal has no entry: one that was damaged. Everything is journalled before it is made. */
export const removeOrphans = async (host: OfflineHost, agents: readonly string[]): Promise<void> => {
  const folders = await leaseFolders(host.runtimeFolder, agents)
  if (folders.length === 0) return
  const { journal, log } = host
  const known = new Set([...(await journal.list()), ...(await journal.listUnknown())].map(({ id }) => id))
  for (const { folder, remnant } of folders) {
    if (known.has(remnant.id)) continue
    log.warn({ lease: remnant.id, machine: remnant.machine.name, folder }, 'removing what a lease left')
    await host.act(() => endDaemon(folder))
    if (remnant.snapshot !== null) await removeSnapshot(host, remnant.snapshot)
    await removeLeaseFolder(folder)
  }
}
