// The guard of a lease of this driver: what it must know to cancel the jobs over QMP.

import { guardScratch, WaitingGuard, type ScratchGuard } from '../scratch-guard.ts'
import type { QmpEntry } from './entry.ts'
import { qmpPathOf } from './keys.ts'
import { rescuedOf } from './rescue.ts'

/** Starts the process of a guard, for a lease that is about to be made. */
export const waitingGuard = (): WaitingGuard => new WaitingGuard(new URL('./scratch-guard-process.ts', import.meta.url))

/** Starts a guard for the lease's jobs; as QEMU serves one client, it kills an agent that hangs while the space is low. */
export const startScratchGuard = (
  entry: QmpEntry,
  reserveBytes: number,
  guard: WaitingGuard = waitingGuard(),
): Promise<ScratchGuard> => {
  const { jobs, accesses, disks, folder } = rescuedOf(entry)
  const { machine, socketPath: nbdPath } = entry
  const rescue = {
    qmpPath: qmpPathOf(machine),
    nbdPath,
    folder,
    jobs: [...jobs],
    disks: [...disks],
    accesses: accesses.map((access) => ({ ...access })),
  }
  return guardScratch({ guard, folder, reserveBytes, rescue })
}
