// The audit log: entries chained by hash, appended in the transaction of what they record.
import type { AuditRecord } from './audit-record.ts'
import type { Question, Transaction } from './call.ts'

/** Most entries that one call lists or checks. */
export const AUDIT_PAGE_MAX = 1000

/** Most entries that one page of a search looks at. */
export const AUDIT_SCAN_MAX = 5000

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

export interface AuditAsked<T> {
  readonly tenant: T
  /** The newest first. */
  readonly newest: boolean
  /** Number of the entry that the page before ended with; null for the first page. */
  readonly after: number | null
  readonly limit: number
  /** Text that an entry contains, whatever its case; null for all. */
  readonly contains: string | null
  /** Just those whose outcome is neither `ok` nor `begun`. */
  readonly failed: boolean
}

export interface AuditPage {
  readonly entries: AuditEntry[]
  /** What the next page is asked behind; null where nothing follows. */
  readonly next: number | null
}

export interface AuditLog {
  /** Appends entries in their order, all or none; at most AUDIT_PAGE_MAX. */
  readonly appendAll: Transaction<{ records: readonly AuditRecord[] }, void>

  /** One tenant's entries (or, for null, the gateway's own) after a sequence number, oldest first, at most AUDIT_PAGE_MAX. */
  readonly list: Question<{ tenant: string | null; afterSeq: number; limit: number }, AuditEntry[]>

  /**
   * A tenant's entries (or, for null, the gateway's own) numbered among themselves: the log's own numbers would tell how busy
   * others are. A search looks at AUDIT_SCAN_MAX of them at most.
   */
  readonly page: Question<AuditAsked<string | null>, AuditPage>

  /** Checks the next AUDIT_PAGE_MAX entries; null starts at the first one. */
  readonly check: Question<{ after: { seq: number; hash: Uint8Array } | null }, AuditCheck>
}
