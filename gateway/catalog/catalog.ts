// The catalog as the gateway sees it: what it knows of tenants, machines, backups and packs, by subject.
import type { OperationArgs, OperationName, OperationResult } from './sqlite/operations.ts'

type SubjectOf<N> = N extends `${infer S}.${string}` ? S : never
type MethodOf<N, S extends string> = N extends `${S}.${infer M}` ? M : never
type Asked<A> = Record<string, never> extends A ? [] : [args: A]

/** Every subject with its methods; each is one transaction. */
export type Catalog = {
  readonly [S in SubjectOf<OperationName>]: {
    readonly [M in MethodOf<OperationName, S>]: (
      ...args: Asked<OperationArgs<`${S}.${M}` & OperationName>>
    ) => Promise<OperationResult<`${S}.${M}` & OperationName>>
  }
}
