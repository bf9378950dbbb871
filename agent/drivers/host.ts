// What the parts of the qmp driver share: how to reach QEMU, the journal, the scratch space and its limits.

import type { Thawer } from '../guest/thawer.ts'
import type { QmpCaller } from '../qmp/client.ts'
import type { JournalEntry, LeaseJournal } from './journal.ts'

/** Where the driver tells what a person should know; pino fits. */
export interface LeaseLog {
  info(details: object, message: string): void
  warn(details: object, message: string): void
}

export interface LeaseHost {
  /** A client of the machine's one QMP connection, never closed by the driver; QMP_UNAVAILABLE when there is none. */
  readonly connect: (qmpPath: string) => Promise<QmpCaller>
  readonly journal: LeaseJournal
  /** Space that must stay free on the scratch file system, in bytes. */
  readonly reserveBytes: number
  readonly freeBytes: (folder: string) => Promise<number>
  /** Undoes freezes that a lease left. */
  readonly thawer: Thawer
  readonly log: LeaseLog
  /** Goes on watching the scratch space of a lease that could not be ended. */
  readonly watchLeft: (entry: JournalEntry) => void
}

const leases = ({ id, baseLease }: JournalEntry): string[] => (baseLease === null ? [id] : [id, baseLease])

/** Leases whose checkpoints other leases of the journal need: nothing may remove them. */
export const keptCheckpoints = async (journal: LeaseJournal, leaseId: string): Promise<ReadonlySet<string>> =>
  new Set((await journal.list()).filter(({ id }) => id !== leaseId).flatMap(leases))
