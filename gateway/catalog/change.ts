// A change of the catalog with the audit log's entry in its transaction.
import type { AuditRecord } from './audit-record.ts'

/** What an entry says besides who asked for what. */
export interface EntryDetails {
  /** Whose log shows it, where that is not the caller's own tenant; null for the gateway's own. */
  readonly tenant?: string | null
  readonly details?: AuditRecord['details']
}

/** Makes a change: `apply` passes the entry to the catalog, which stores both or neither. */
export type Change = <R>(apply: (entry?: AuditRecord) => Promise<R>, about?: EntryDetails) => Promise<R>

/** Makes it without an entry. */
export const unaudited: Change = (apply) => apply()
