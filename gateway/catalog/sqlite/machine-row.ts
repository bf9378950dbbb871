// Above the catalog, machines are named by tenant and name; in the tables, by a number.
import { VarveError } from '../../../protocol/errors.ts'
import type { Sql } from './sql.ts'

/** The number of a machine; null where there is none of this name. */
export const findMachineRow = (sql: Sql, tenant: number, name: string): number | null =>
  sql.get<{ id: number }>('SELECT id FROM machine WHERE tenant = ? AND name = ?', tenant, name)?.id ?? null

/** The same; NOT_FOUND. */
export const machineRow = (sql: Sql, tenant: number, name: string): number => {
  const row = findMachineRow(sql, tenant, name)
  if (row === null) throw new VarveError('NOT_FOUND', `there is no machine "${name}"`)
  return row
}
