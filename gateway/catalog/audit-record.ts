// What an entry of the audit log records: who asked for what, when, and how it ended.
import type { ErrorDetails } from '../../protocol/errors.ts'

export interface AuditRecord {
  readonly timeMs: number
  /** Uuid of the tenant whose log shows it; null for what concerns the gateway alone. */
  readonly tenant: string | null
  readonly subject: string
  readonly role: string
  readonly action: string
  readonly resource: string
  /** `ok`, or the code of the error. */
  readonly outcome: string
  readonly details: ErrorDetails
}
