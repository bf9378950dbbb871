// The catalog's own room: free pages that stay, and a log that keeps its length.
import { statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { runOperation } from '../../../../gateway/catalog/sqlite/operations.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { tempFolder } from '../../../support/temp.ts'

const MIB = 2 ** 20

test('what was taken is free in the catalog, which is longer by it, and the log does not grow again', async () => {
  await using temp = await tempFolder()
  const file = temp.join('catalog.db')
  using sql = new Sql(file)
  const before = runOperation(sql, 'room.free', {})
  runOperation(sql, 'room.take', { bytes: MIB })
  runOperation(sql, 'room.leave', {})
  expect(runOperation(sql, 'room.free', {})).toBeGreaterThan(before + MIB * 0.9)
  expect(runOperation(sql, 'settings.get', { name: 'room' })).toBeNull()
  const [catalog, log] = [statSync(file).size, statSync(`${file}-wal`).size]
  expect(catalog).toBeGreaterThan(MIB)
  expect(log).toBeGreaterThan(MIB)
  for (let row = 0; row < 100; row++) runOperation(sql, 'settings.set', { name: `row${row}`, value: 'x'.repeat(1000) })
  expect([statSync(file).size, statSync(`${file}-wal`).size]).toEqual([catalog, log])
})

test('what a reader kept in the log is no room yet', async () => {
  await using temp = await tempFolder()
  const file = temp.join('catalog.db')
  using sql = new Sql(file)
  runOperation(sql, 'settings.set', { name: 'a', value: 'b' })
  const before = runOperation(sql, 'room.free', {})
  using reader = new DatabaseSync(file, { readOnly: true })
  reader.exec('BEGIN')
  reader.prepare('SELECT * FROM setting').all()
  runOperation(sql, 'room.take', { bytes: MIB })
  runOperation(sql, 'room.leave', {})
  expect(runOperation(sql, 'room.free', {})).toBeLessThanOrEqual(before)
  expect(statSync(file).size).toBeLessThan(MIB)
  reader.exec('COMMIT')
  runOperation(sql, 'room.take', { bytes: MIB })
  runOperation(sql, 'room.leave', {})
  expect(runOperation(sql, 'room.free', {})).toBeGreaterThan(before + MIB * 0.9)
  expect(statSync(file).size).toBeGreaterThan(MIB)
})
