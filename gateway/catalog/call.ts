// What a method of the catalog is: a question, or a change that is one transaction.
import type { AuditRecord } from './audit-record.ts'

/** No arguments. */
export type None = Record<string, never>

/** A question: its answer reflects every change that was acknowledged before it was asked. */
export type Question<A, R> = (...args: A extends None ? [] : [args: A]) => Promise<R>

/** A change: it and its audit entry, if one is given, are durable when it is answered, or neither is. */
export type Transaction<A, R> = (...args: A extends None ? [] : [args: A, entry?: AuditRecord]) => Promise<R>
