// The table of operations: one that writes runs in a transaction, one that reads in none.
import { expect, test } from 'vitest'
import { read, write } from '../../../../gateway/catalog/sqlite/operation.ts'
import { runOperation } from '../../../../gateway/catalog/sqlite/operations.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'

test('a write that fails half way leaves nothing', () => {
  using sql = new Sql(':memory:')
  const tenant = { name: 'a', id: 'u', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }
  runOperation(sql, 'tenants.add', tenant)
  expect(() => runOperation(sql, 'tenants.add', { ...tenant, name: 'b' })).toThrow(/UNIQUE/u)
  expect(runOperation(sql, 'tenants.list', {})).toHaveLength(1)
})

test('an operation says whether it writes', () => {
  using sql = new Sql(':memory:')
  const one = (_: Sql, { value }: { value: number }): number => value + 1
  expect(read(one)).toMatchObject({ mode: 'read' })
  expect(write(one).run(sql, { value: 1 })).toBe(2)
  expect(write(one).mode).toBe('write')
})
