// Ends a lease that an earlier run left to a target, as the target's note says.
import type { Log } from '../../protocol/host/log.ts'
import type { LeaseDriver, LeaseOutcome, Machine } from '../drivers/driver.ts'
import type { JournalEntry } from '../drivers/journal.ts'
import { targetOf } from './holder.ts'
import type { TargetNotes } from './target-notes.ts'

interface Uses {
  readonly driverOf: (machine: Pick<Machine, 'driver'>) => LeaseDriver
  readonly notes: TargetNotes
  readonly log: Log
}

/** What cannot be removed now stays in the journal with its outcome. */
export const settleLeft = async (entry: JournalEntry, { driverOf, notes, log }: Uses): Promise<void> => {
  const { id: lease, machine, agentId } = entry
  const noted = await notes.of(machine.name)
  // the note of a success is the moment from which it counts
  const outcome: LeaseOutcome = noted.some(({ base }) => base?.lease === lease) ? 'committed' : 'failed'
  const about = { machine: machine.name, target: targetOf(agentId), lease, outcome }
  try {
    await driverOf(machine).settle(entry, entry.outcome ?? outcome)
    log.info(about, 'settled a lease that an earlier run left to a target')
  } catch (error) {
    log.warn({ ...about, err: error }, 'a lease of a target cannot be settled yet')
  }
}
