// What an operation of the database is: a function over SQL that either only reads, here or aside, or runs in one transaction.
import type { None } from '../call.ts'
import type { Catalog } from '../catalog.ts'
import type { Sql } from './sql.ts'
import type { Rowed } from './tenant-row.ts'

/** Arguments and result must survive a structured clone: operations run on the database's thread. */
export interface Operation<A, R> {
  readonly mode: 'read' | 'aside' | 'write' | 'spare'
  readonly run: (sql: Sql, args: A) => R
}

export const read = <A, R>(run: (sql: Sql, args: A) => R): Operation<A, R> => ({ mode: 'read', run })

/**
 * A read that no backup or restore waits for: listings, plans and accounts, however long they take. It runs on a separate thread
 * and connection and sees every transaction that was acknowledged before.
 */
export const aside = <A, R>(run: (sql: Sql, args: A) => R): Operation<A, R> => ({ mode: 'aside', run })

/** A write runs in one immediate transaction: committed and synced when it returns, or nothing of it is there. */
export const write = <A, R>(run: (sql: Sql, args: A) => R): Operation<A, R> => ({ mode: 'write', run })

/** A write that must not use the ballast, only space that is free anyway. */
export const spare = <A, R>(run: (sql: Sql, args: A) => R): Operation<A, R> => ({ mode: 'spare', run })

type OperationOf<F> = F extends (...args: infer P) => Promise<infer R>
  ? Operation<P extends readonly [infer A, ...unknown[]] ? Rowed<A> : None, R>
  : never

type Named<C> = { [S in keyof C & string]: `${S}.${keyof C[S] & string}` }[keyof C & string]

/** An operation for each method of the catalog, by the name of its subject and its own. */
export type Operations = {
  readonly [N in Named<Catalog>]: N extends `${infer S extends keyof Catalog}.${infer M}`
    ? OperationOf<Catalog[S][M & keyof Catalog[S]]>
    : never
}
