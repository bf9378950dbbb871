// The state of a tenant: a snapshot to be written to the packs, and the note that it is there.
import type { TenantState } from './state-record.ts'
import type { None, Question, Transaction } from './call.ts'
import type { RecordCommit } from './records.ts'

export interface States {
  /**
   * The state to be written, with its number, or null where the packs have it. The number is valid from this moment on, so a
   * manifest that names it was written after the snapshot, even if the snapshot was never stored.
   */
  readonly begin: Transaction<{ tenant: string; nowMs: number }, TenantState | null>

  /**
   * Records a state that is synced to its pack, `ids` being those of its parts; after a change since its snapshot the tenant
   * stays due for writing.
   */
  readonly commit: Transaction<RecordCommit, void>

  /** Number of the tenant's newest state. */
  readonly seq: Question<{ tenant: string }, number>

  /** The tenants whose current state is not in the packs. */
  readonly changed: Question<None, string[]>

  /** Ids of the records that hold the tenant's state as it was written last, packed; empty before the first. */
  readonly records: Question<{ tenant: string }, Uint8Array>

  /** Marks the tenant's state to be written again. */
  readonly spoil: Transaction<{ tenant: string }, void>
}
