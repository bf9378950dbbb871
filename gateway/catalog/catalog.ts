// The catalog as the gateway sees it: what it knows of tenants, machines, backups and packs, by subject.
import type { AuditRecord } from './sqlite/audit.ts'
import type { OperationArgs, OperationName, OperationResult } from './sqlite/operations.ts'

type SubjectOf<N> = N extends `${infer S}.${string}` ? S : never
type MethodOf<N, S extends string> = N extends `${S}.${infer M}` ? M : never
type Asked<A> = Record<string, never> extends A ? [args?: A, entry?: AuditRecord] : [args: A, entry?: AuditRecord]

/** Every subject with its methods; each is one transaction, which a change shares with the audit log's entry that it is given. */
export type Catalog = {
  readonly [S in SubjectOf<OperationName>]: {
    readonly [M in MethodOf<OperationName, S>]: (
      ...args: Asked<OperationArgs<`${S}.${M}` & OperationName>>
    ) => Promise<OperationResult<`${S}.${M}` & OperationName>>
  }
}
