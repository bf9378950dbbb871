// What a method of the catalog is: a question, or a change that is one transaction.
import type { AuditRecord } from './audit.ts'

/** No arguments. */
export type None = Record<string, never>

/** A question: what it gives is as the last change that was answered before it left things, or a later one. */
export type Question<A, R> = (...args: A extends None ? [] : [args: A]) => Promise<R>

/** A change: with the audit log's entry, where it is given one, it is there when it is answered, or neither is. */
export type Transaction<A, R> = (...args: A extends None ? [] : [args: A, entry?: AuditRecord]) => Promise<R>
