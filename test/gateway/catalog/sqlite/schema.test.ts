// The schema: every table is strict, and what belongs to a tenant says so.
import { expect, test } from 'vitest'
import { MIGRATIONS } from '../../../../gateway/catalog/sqlite/schema.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'

const tables = (sql: Sql) =>
  sql.all<{ name: string; strict: number }>(
    "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'",
  )

test('every table checks its types', () => {
  using sql = new Sql(':memory:')
  expect(MIGRATIONS.length).toBeGreaterThan(0)
  expect(tables(sql).length).toBeGreaterThan(10)
  expect(tables(sql).filter(({ strict }) => strict !== 1)).toEqual([])
})

test('every table but those that hang on another one names its tenant', () => {
  using sql = new Sql(':memory:')
  const without = tables(sql)
    .map(({ name }) => name)
    .filter((name) => sql.get("SELECT 1 FROM pragma_table_info(?) WHERE name = 'tenant'", name) === undefined)
  expect(without.toSorted()).toEqual(['absent', 'image', 'lost', 'pace', 'setting', 'tenant', 'upload'])
})
