// Above the catalog, tenants are named by uuid; in the tables, by a number.
import { VarveError } from '../../../protocol/errors.ts'
import type { Sql } from './sql.ts'

/** The number of a tenant; NOT_FOUND. */
export const tenantRow = (sql: Sql, uuid: string): number => {
  const row = sql.get<{ id: number }>('SELECT id FROM tenant WHERE uuid = ?', uuid)
  if (row === undefined) throw new VarveError('NOT_FOUND', `there is no tenant ${uuid}`)
  return row.id
}

/** The uuid of a tenant that is there. */
export const tenantUuid = (sql: Sql, row: number): string =>
  sql.get<{ uuid: string }>('SELECT uuid FROM tenant WHERE id = ?', row)!.uuid

/** Arguments as an operation takes them: with the number of the tenant. */
export type Rowed<A> = A extends { readonly tenant: string | null }
  ? Omit<A, 'tenant'> & { readonly tenant: number | Extract<A['tenant'], null> }
  : A

/** Arguments as callers give them: with the uuid of the tenant. */
export type Named<A> = A extends { readonly tenant: number | null }
  ? Omit<A, 'tenant'> & { readonly tenant: string | Extract<A['tenant'], null> }
  : A

/** The arguments for the operation; NOT_FOUND. */
export const rowed = <A extends object>(sql: Sql, args: A): Rowed<A> => {
  const { tenant } = args as { readonly tenant?: unknown }
  return (typeof tenant === 'string' ? { ...args, tenant: tenantRow(sql, tenant) } : args) as Rowed<A>
}
