// The facts of a tenant as rows of its catalog: reading them, and putting them into a new one.
import { factOf, type FactName, type FactRow, type Fields } from '../facts.ts'
import type { Sql, SqlValue } from './sql.ts'

const quoted = (columns: readonly string[]): string => columns.map((column) => `"${column}"`).join(', ')

/** The columns of these fields under the fields' names. */
export const selectFields = (fields: Fields): string =>
  Object.entries(fields)
    .map(([field, [column]]) => `"${column}" AS "${field}"`)
    .join(', ')

/** All rows of a fact that a tenant (?) has. */
export const selectFact = (fact: FactName): string => {
  const { table, fields, order } = factOf(fact)
  return `SELECT ${selectFields(fields)} FROM ${table} WHERE tenant = ? ORDER BY ${order}`
}

export const hasFact = (sql: Sql, fact: FactName, key: string): boolean => {
  const { table, fields, key: names } = factOf(fact)
  return sql.get(`SELECT 1 FROM ${table} WHERE "${fields[names[0]!]![0]}" = ?`, key) !== undefined
}

/** A number of a row that it may have, or null. */
const free = (sql: Sql, table: string, value: SqlValue): SqlValue =>
  value === null || sql.get(`SELECT 1 FROM ${table} WHERE id = ?`, value) !== undefined ? null : value

/** Adds a row unless there is one of its key, of which only what the entry says changes: `newest` where nobody knows better. */
export const putFact = <N extends FactName>(
  sql: Sql,
  fact: N,
  tenant: number,
  row: { readonly [K in keyof FactRow<N>]: FactRow<N>[K] | null },
  { newest = false } = {},
): void => {
  const { table, fields, key, acrossTenants, changing, lasting } = factOf(fact)
  const given = row as Readonly<Record<string, SqlValue>>
  const column = (field: string): string => fields[field]![0]
  const values = Object.keys(fields).map((field) => (field === 'row' ? free(sql, table, given[field]!) : given[field]!))
  const columns = ['tenant', ...Object.keys(fields).map(column)]
  const changes = [
    ...lasting.map(column).map((one) => `"${one}" = coalesce("${one}", excluded."${one}")`),
    ...(newest ? changing.map(column).map((one) => `"${one}" = excluded."${one}"`) : []),
  ]
  sql.run(
    `INSERT INTO ${table} (${quoted(columns)}) VALUES (${columns.map(() => '?').join(', ')})
     ON CONFLICT (${quoted([...(acrossTenants ? [] : ['tenant']), ...key.map(column)])})
     ${changes.length === 0 ? 'DO NOTHING' : `DO UPDATE SET ${changes.join(', ')}`}`,
    tenant,
    ...values,
  )
}
