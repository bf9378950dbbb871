// Takes up leases of targets that nobody holds: of an earlier run, and those whose end could not be noted.
import type { Log } from '../../protocol/host/log.ts'
import type { LeaseDriver, Machine } from '../drivers/driver.ts'
import type { JournalEntry, LeaseJournal } from '../drivers/journal.ts'
import { clearHeld } from './end-notes.ts'
import { targetOf } from './holder.ts'
import { settleLeft } from './settle-left.ts'
import type { TargetNote, TargetNotes } from './target-notes.ts'

interface Uses {
  readonly journal: Pick<LeaseJournal, 'list'>
  readonly notes: TargetNotes
  readonly driverOf: (machine: Pick<Machine, 'driver'>) => LeaseDriver
  readonly log: Log
  /** Ids of the leases that are held, or about to be. */
  readonly held: () => ReadonlySet<string>
  /** Also what has an outcome, which its driver tries to remove anyway. */
  readonly all: boolean
  /** Goes on with one; false where it is over. */
  readonly adopt: (machine: string, note: TargetNote, entry: JournalEntry) => Promise<boolean>
}

/** Those whose time has not come go on, the others are ended as their notes say; what is of one machine stops no other. */
export const takeUpLeft = async ({ journal, notes, driverOf, log, held, all, adopt }: Uses): Promise<void> => {
  const before = held()
  const isHeld = (id: string): boolean => before.has(id) || held().has(id)
  const left = new Map<string, JournalEntry>()
  for (const entry of await journal.list())
    if (targetOf(entry.agentId) !== null && (all || entry.outcome === null) && !isHeld(entry.id))
      left.set(entry.id, entry)
  const later = new Set<string>()
  const takeUp = async (machine: string): Promise<void> => {
    for (const note of await notes.of(machine)) {
      const id = note.held?.lease
      if (id !== undefined && isHeld(id)) continue
      const entry = id === undefined ? undefined : left.get(id)
      if (entry !== undefined && (await adopt(machine, note, entry))) left.delete(entry.id)
      else await clearHeld(notes, { machine, target: note.target, id })
    }
  }
  const orLater = (machine: string, work: Promise<void>): Promise<void> =>
    work.catch((error: unknown) => {
      later.add(machine)
      log.warn({ machine, err: error }, 'leases of targets of this machine cannot be taken up yet')
    })
  for (const machine of await notes.machines()) await orLater(machine, takeUp(machine))
  for (const entry of left.values()) {
    const { name } = entry.machine
    if (!later.has(name)) await orLater(name, settleLeft(entry, { driverOf, notes, log }))
  }
}
