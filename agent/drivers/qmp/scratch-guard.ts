// The guard of a lease of this driver: what it must know to cancel the jobs over QMP.

import { guardScratch, type ScratchGuard } from '../scratch-guard.ts'
import type { QmpEntry } from './entry.ts'
import { qmpPathOf } from './keys.ts'
import { rescuedOf } from './rescue.ts'

/** Starts a guard for the lease's jobs; as QEMU serves one client, it kills an agent that hangs while the space is low. */
export const startScratchGuard = (entry: QmpEntry, reserveBytes: number): Promise<ScratchGuard> => {
  const { jobs, disks, folder } = rescuedOf(entry)
  const { machine, socketPath: nbdPath } = entry
  const rescue = { qmpPath: qmpPathOf(machine), nbdPath, folder, jobs: [...jobs], disks: [...disks] }
  const program = new URL('./scratch-guard-process.ts', import.meta.url)
  return guardScratch({ program, folder, reserveBytes, rescue })
}
