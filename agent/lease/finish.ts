// Ends a lease for good: what it left in the guest, in QEMU, on disk and in the journal, in this order.

import { VarveError } from '../../protocol/errors.ts'
import { thawIfFrozen } from '../guest/thaw.ts'
import { keptCheckpoints } from './host.ts'
import type { LeaseHost } from './host.ts'
import type { JournalEntry } from './journal.ts'
import type { LeaseOutcome } from './lease.ts'
import { findMoved } from './run-state.ts'
import { removeScratch } from './scratch.ts'
import { leaseTarget, tearDown } from './teardown.ts'

/** Connections tried when QEMU goes away in the middle. */
const ATTEMPTS_MAX = 3

/** Whether an error says that no QEMU is behind the socket any more, so that only its images remain. */
export const isGone = (error: unknown): boolean =>
  error instanceof VarveError &&
  error.code === 'QMP_UNAVAILABLE' &&
  (error.details['errno'] === 'ECONNREFUSED' || error.details['errno'] === 'ENOENT')

const thawLeftover = async (host: LeaseHost, { id, machine, freezing }: JournalEntry): Promise<void> => {
  if (!freezing || machine.guestAgent === null) return
  try {
    const thawed = await thawIfFrozen(machine.guestAgent)
    if (thawed) host.log.warn({ lease: id, machine: machine.name }, 'thawed a guest that was left frozen')
  } catch (error) {
    // a guest that is gone needs no thaw, and its bitmaps are to be removed in any case
    host.log.warn({ lease: id, machine: machine.name, err: error }, 'could not ask whether the guest is frozen')
  }
}

/** Bitmaps of a machine that has moved stay until it is back: touching them would keep it from going on here. */
const stillMoved = (machine: string, moved: string): VarveError =>
  new VarveError('MACHINE_MOVING', `Checkpoints of machine ${machine} cannot be removed now: ${moved}.`, {
    details: { machine },
  })

const tearDownReachable = async (host: LeaseHost, entry: JournalEntry, outcome: LeaseOutcome): Promise<void> => {
  const target = leaseTarget(entry, outcome, await keptCheckpoints(host.journal, entry.id))
  for (let attempt = 1; ; attempt += 1) {
    try {
      const client = await host.connect(entry.machine.qmp)
      const moved = await findMoved(client)
      await tearDown(client, moved === null ? target : { ...target, bitmaps: () => [] })
      if (moved !== null) throw stillMoved(entry.machine.name, moved)
      return
    } catch (error) {
      const broken = error instanceof VarveError && error.code === 'QMP_UNAVAILABLE' && !isGone(error)
      if (!broken || attempt >= ATTEMPTS_MAX) throw error
    }
  }
}

/**
 * Removes exactly what the entry's lease made, then the entry. The outcome is journalled first, so that it also holds
 * for a later try. QMP_UNAVAILABLE when QEMU is gone and bitmaps may remain in its images: the entry stays.
 */
export const finishLease = async (host: LeaseHost, entry: JournalEntry, outcome: LeaseOutcome): Promise<void> => {
  const settled = entry.outcome ?? outcome
  await host.journal.write({ ...entry, phase: 'ending', outcome: settled })
  await thawLeftover(host, entry)
  try {
    await tearDownReachable(host, entry, settled)
  } catch (error) {
    if (!isGone(error)) throw error
    await removeScratch(entry)
    if (entry.disks.some(({ persistent }) => persistent)) throw error
  }
  await removeScratch(entry)
  await host.journal.remove(entry.id)
}
