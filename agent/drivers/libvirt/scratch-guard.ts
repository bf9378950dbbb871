// The guard of a lease of this driver: what it must know to end the backup through libvirt.

import { guardScratch, WaitingGuard, type ScratchGuard } from '../scratch-guard.ts'
import type { LibvirtEntry } from './entry.ts'
import { rescuedOf } from './rescue.ts'

/** Starts the process of a guard, for a lease that is about to be made. */
export const waitingGuard = (): WaitingGuard => new WaitingGuard(new URL('./scratch-guard-process.ts', import.meta.url))

/** Starts a guard for the lease's backup; libvirt serves many clients, so it leaves an agent that hangs alone. */
export const startScratchGuard = (
  entry: LibvirtEntry,
  reserveBytes: number,
  guard: WaitingGuard = waitingGuard(),
): Promise<ScratchGuard> => {
  const { disks, ...rescued } = rescuedOf(entry)
  return guardScratch({ guard, folder: rescued.folder, reserveBytes, rescue: { ...rescued, disks: [...disks] } })
}
