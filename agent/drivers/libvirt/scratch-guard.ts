// The guard of a lease of this driver: what it must know to end the backup through libvirt.

import { guardScratch, type ScratchGuard } from '../scratch-guard.ts'
import type { LibvirtEntry } from './entry.ts'
import { rescuedOf } from './rescue.ts'

/** Starts a guard for the lease's backup; libvirt serves many clients, so it leaves an agent that hangs alone. */
export const startScratchGuard = (entry: LibvirtEntry, reserveBytes: number): Promise<ScratchGuard> => {
  const { disks, ...rescued } = rescuedOf(entry)
  const program = new URL('./scratch-guard-process.ts', import.meta.url)
  return guardScratch({ program, folder: rescued.folder, reserveBytes, rescue: { ...rescued, disks: [...disks] } })
}
