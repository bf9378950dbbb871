// The leases that an earlier backup of a machine has left in the journal. Pure.
import { VarveError } from '../../protocol/errors.ts'
import type { LeaseOutcome, LeaseRequest, Machine } from './driver.ts'
import type { JournalEntry } from './journal.ts'

/**
 * Those of the machine with their outcomes, one after the other, to be ended before the lease begins; LEASE_HELD at one without
 * an outcome, and at the lease itself. `isIts` says which are the machine's.
 */
export function* earlierLeases<Entry extends Pick<JournalEntry, 'id' | 'machine' | 'outcome'>>(
  entries: readonly Entry[],
  { machine, leaseId }: Pick<LeaseRequest, 'leaseId'> & { readonly machine: Pick<Machine, 'name' | 'address'> },
  isIts: (entry: Entry) => boolean = (entry) => entry.machine.address === machine.address,
): Generator<{ readonly entry: Entry; readonly outcome: LeaseOutcome }> {
  for (const entry of entries) {
    if (!isIts(entry) && entry.id !== leaseId) continue
    if (entry.outcome === null || entry.id === leaseId) {
      const sentence = `an earlier lease on machine ${machine.name} is not settled`
      throw new VarveError('LEASE_HELD', sentence, { details: { machine: machine.name, lease: entry.id } })
    }
    yield { entry, outcome: entry.outcome }
  }
}
