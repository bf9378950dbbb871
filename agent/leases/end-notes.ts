// What is noted of a target's lease when it ends.
import type { Lease } from '../drivers/driver.ts'
import type { Held } from './held.ts'
import { baseAfter } from './target-base.ts'
import type { TargetNote, TargetNotes } from './target-notes.ts'

/** From here on the success counts, whatever is killed; where that cannot be noted, the lease is ended as failed. */
export const noteSuccess = async (
  notes: TargetNotes,
  { machine, target, id }: Pick<Held, 'machine' | 'target' | 'id'>,
  lease: Lease,
): Promise<void> => {
  let before: TargetNote | null = null
  try {
    await notes.change(machine, target, (note) => {
      before = note
      return { target, base: baseAfter(lease, note), held: null }
    })
  } catch (error) {
    await lease.end('failed').catch(() => undefined)
    // it may be there, though not durably
    const undo = (note: TargetNote | null): TargetNote | null => (note?.base?.lease === id ? before : note)
    await notes.change(machine, target, undo).catch(() => undefined)
    await clearHeld(notes, { machine, target, id }).catch(() => undefined)
    throw error
  }
}

/** Notes that a target does not hold this lease; one that has never had a success leaves nothing. */
export const clearHeld = (
  notes: TargetNotes,
  { machine, target, id }: Pick<Held, 'machine' | 'target'> & { readonly id: string | undefined },
): Promise<void> =>
  notes.change(machine, target, (note) => {
    if (note === null || (note.held !== null && note.held.lease !== id)) return note
    if (note.base === null) return null
    return note.held === null ? note : { ...note, held: null }
  })
