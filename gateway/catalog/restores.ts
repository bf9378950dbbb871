// Restores that were ordered from agents: what is under way, and what became of the last ones.
import type { Restore } from '../../protocol/restores.ts'
import type { Question, Transaction } from './call.ts'
import type { JobFailure } from './jobs.ts'

/** Restores of one tenant that are kept: of those that have ended, the oldest go. */
export const RESTORES_KEPT_MAX = 1000

export type RestoreRow = Restore

/** A restore that is about to be ordered. */
export interface NewRestore {
  readonly id: string
  readonly tenant: string
  readonly point: string
  readonly agent: string
  readonly subject: string
  readonly overwrite: boolean
  readonly disks: RestoreRow['disks']
  readonly nowMs: number
}

/** How a restore ended; `error` is null for one that is done. */
export interface RestoreEnd {
  readonly id: string
  readonly error: JobFailure | null
  readonly disks: RestoreRow['disks']
  readonly nowMs: number
}

export interface RestoresAsked {
  readonly tenant: string
  readonly machine: string | null
  readonly state: RestoreRow['state'] | null
  readonly after: { readonly startedMs: number; readonly id: string } | null
  readonly limit: number
}

export interface Restores {
  /** Adds one that runs; its point is not removed while it does. NOT_FOUND, LIMIT_REACHED past RESTORES_RUNNING_MAX. */
  readonly start: Transaction<NewRestore, void>

  /** Ends one that runs, and tells it; false where it has ended before. */
  readonly end: Transaction<RestoreEnd, boolean>

  /** Forgets one that was refused before anything was written. */
  readonly withdraw: Transaction<{ id: string }, void>

  /** Ends all that ran when the gateway stopped without a word; how many there were. */
  readonly abandon: Transaction<{ nowMs: number }, number>

  /** One of a tenant's; null where it is not there. */
  readonly get: Question<{ tenant: string; id: string }, RestoreRow | null>

  /** Newest first; a page ends early where its rows are large. */
  readonly list: Question<RestoresAsked, { restores: RestoreRow[]; more: boolean }>
}
