// The audit log: entries chained by hash, appended in the transaction of what they record.
import type { AuditRecord } from './audit-record.ts'
import type { Question, Transaction } from './call.ts'

/** Most entries that one call lists or checks. */
export const AUDIT_PAGE_MAX = 1000

export interface AuditEntry extends AuditRecord {
  readonly seq: number
  readonly previous: Uint8Array
  readonly hash: Uint8Array
}

/** How far a check came: `brokenSeq` is the first entry that is not what was written. */
export interface AuditCheck {
  readonly brokenSeq: number | null
  readonly done: boolean
  readonly seq: number
  readonly hash: Uint8Array
}

export interface AuditLog {
  /** Appends entries in their order, all or none; at most AUDIT_PAGE_MAX. */
  readonly appendAll: Transaction<{ records: readonly AuditRecord[] }, void>

  /** One tenant's entries (or, for null, the gateway's own) after a sequence number, oldest first, at most AUDIT_PAGE_MAX. */
  readonly list: Question<{ tenant: string | null; afterSeq: number; limit: number }, AuditEntry[]>

  /**
   * A tenant's entries (or, for null, the gateway's own) behind the first `after`, numbered among themselves: the log's own
   * numbers would tell how busy others are.
   */
  readonly page: Question<{ tenant: string | null; after: number; limit: number }, AuditEntry[]>

  /** Checks the next AUDIT_PAGE_MAX entries; null starts at the first one. */
  readonly check: Question<{ after: { seq: number; hash: Uint8Array } | null }, AuditCheck>
}
