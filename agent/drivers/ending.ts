// How a lease on a machine that runs ends for good: its outcome, the guest, the hypervisor, the disk, the journal, in this order.
import { VarveError } from '../../protocol/errors.ts'
import type { DriverHost, LeaseOutcome } from './driver.ts'
import type { JournalEntry } from './journal.ts'
import { removeScratch } from './scratch.ts'

/** How long the end of a lease waits for a guest that was left frozen, in milliseconds; the thaw goes on without it. */
const THAW_WAIT_MS = 10_000

/** Connections tried when the hypervisor disconnects midway. */
const ATTEMPTS_MAX = 3

/** A lease with scratch space. */
interface EndingEntry extends Pick<JournalEntry, 'id' | 'machine' | 'phase' | 'outcome'> {
  readonly scratchFolder: string
  readonly socketFolder: string
}

/** A driver's part of the end of its leases. */
export interface Ending<Entry> {
  readonly write: (entry: Entry) => Promise<void>
  /**
   * Removes what the lease made in the hypervisor, or the rest of it. Returns what resumes a guest that had stopped because the
   * scratch space was full; null for any other.
   */
  readonly tearDown: (outcome: LeaseOutcome) => Promise<(() => Promise<unknown>) | null>
  /** Code of the error of a connection that is broken. */
  readonly unavailable: string
  /** Whether an error says that the machine has ended, so that only its images remain. */
  readonly isGone: (error: unknown) => boolean
  /** Whether the lease may have bitmaps in those. */
  readonly hasBitmaps: boolean
}

const tearDownReachable = async <Entry>(
  { tearDown, unavailable, isGone }: Ending<Entry>,
  outcome: LeaseOutcome,
  onResume: (resume: () => Promise<unknown>) => Promise<void>,
): Promise<void> => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const resume = await tearDown(outcome)
      if (resume !== null) await onResume(resume)
      return
    } catch (error) {
      const broken = error instanceof VarveError && error.code === unavailable && !isGone(error)
      if (!broken || attempt >= ATTEMPTS_MAX) throw error
    }
  }
}

/**
 * Removes exactly what the entry's lease made, then the entry. The outcome is journalled first, so that it also holds for a
 * later try. An error of `isGone` while bitmaps may remain in the images: the entry stays.
 */
export const endLease = async <Entry extends EndingEntry>(
  { journal, thawer, log }: Pick<DriverHost, 'journal' | 'thawer' | 'log'>,
  entry: Entry,
  outcome: LeaseOutcome,
  ending: Ending<Entry>,
): Promise<void> => {
  const settled = entry.outcome ?? outcome
  await ending.write({ ...entry, phase: 'ending', outcome: settled })
  await thawer.takeOver(({ lease }) => lease === entry.id, THAW_WAIT_MS)
  try {
    await tearDownReachable(ending, settled, async (resume) => {
      await removeScratch(entry)
      await resume()
      const sentence = 'the guest had stopped because the scratch space was full; it was resumed'
      log.warn({ lease: entry.id, machine: entry.machine.name }, sentence)
    })
  } catch (error) {
    if (!ending.isGone(error)) throw error
    await removeScratch(entry)
    if (ending.hasBitmaps) throw error
  }
  await removeScratch(entry)
  await journal.remove(entry.id)
}

/**
 * Removes with `finish` what a failed begin made; where that cannot be done now it stays in the journal as failed, and the
 * result is false.
 */
export const undoBegin = async <Entry extends EndingEntry>(
  { log, watchLeft }: Pick<DriverHost, 'log'> & { readonly watchLeft: (entry: Entry) => void },
  entry: Entry,
  cause: unknown,
  { finish, isGone }: { readonly finish: () => Promise<void> } & Pick<Ending<Entry>, 'isGone'>,
): Promise<boolean> => {
  try {
    await finish()
    return true
  } catch (error) {
    if (!isGone(error)) watchLeft(entry)
    const about = { lease: entry.id, machine: entry.machine.name, err: error, cause }
    log.warn(about, 'a lease that failed to begin could not be removed yet')
    return false
  }
}
