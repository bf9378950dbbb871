// The embedded database: migrations, transactions that are all or nothing, and two programs on one file.
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { MIGRATIONS } from '../../../../gateway/catalog/sqlite/schema.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { tempFolder } from '../../../support/temp.ts'

const settings = (sql: Sql) =>
  sql.all<{ name: string }>('SELECT name FROM setting ORDER BY name').map(({ name }) => name)
const ADD = "INSERT INTO setting (name, value) VALUES (?, 'x')"

test('a new file has the newest schema and keeps what was written', async () => {
  await using temp = await tempFolder()
  {
    using sql = new Sql(temp.join('db'))
    expect(sql.run(ADD, 'a')).toBe(1)
    expect(sql.run('UPDATE setting SET value = 1')).toBe(1)
    expect(sql.run('DELETE FROM setting WHERE name = ?', 'zzz')).toBe(0)
  }
  using sql = new Sql(temp.join('db'))
  expect(settings(sql)).toEqual(['a'])
  expect(sql.get('PRAGMA user_version')).toEqual({ user_version: MIGRATIONS.length })
  expect(sql.get('SELECT * FROM setting WHERE name = ?', 'b')).toBeUndefined()
  expect(sql.get('PRAGMA journal_mode')).toEqual({ journal_mode: 'wal' })
  expect(sql.get('PRAGMA synchronous')).toEqual({ synchronous: 2 })
})

test('a transaction is all or nothing, also when it throws inside another statement', async () => {
  await using temp = await tempFolder()
  using sql = new Sql(temp.join('db'))
  const failing = () =>
    sql.transaction(() => {
      sql.run(ADD, 'a')
      sql.run(ADD, 'a')
    })
  expect(failing).toThrow(/UNIQUE/u)
  expect(settings(sql)).toEqual([])
  expect(sql.transaction(() => sql.run(ADD, 'b'))).toBe(1)
  expect(settings(sql)).toEqual(['b'])
})

test('references between tables hold', async () => {
  await using temp = await tempFolder()
  using sql = new Sql(temp.join('db'))
  expect(() => sql.run("INSERT INTO machine (tenant, name, agent, created_ms) VALUES (1, 'a', 'b', 1)")).toThrow(
    /FOREIGN KEY/u,
  )
})

test('two that open a new file at once both find the schema', async () => {
  await using temp = await tempFolder()
  using first = new Sql(temp.join('db'))
  using second = new Sql(temp.join('db'))
  first.transaction(() => first.run(ADD, 'a'))
  expect(settings(second)).toEqual(['a'])
})

test('a file of a later program is refused and let go of', async () => {
  await using temp = await tempFolder()
  const file = temp.join('db')
  new Sql(file)[Symbol.dispose]()
  const raw = new DatabaseSync(file)
  raw.exec(`PRAGMA user_version = ${MIGRATIONS.length + 1}`)
  expect(() => new Sql(file)).toThrow(expect.objectContaining({ code: 'STORE_VERSION' }))
  raw.exec(`PRAGMA journal_mode = DELETE; PRAGMA user_version = ${MIGRATIONS.length}`)
  raw.close()
  new Sql(file)[Symbol.dispose]()
})

test('a snapshot sees one moment, whatever another program writes meanwhile, and ends with an error too', async () => {
  await using temp = await tempFolder()
  using sql = new Sql(temp.join('db'))
  using other = new Sql(temp.join('db'))
  const seen = sql.snapshot(() => {
    const before = settings(sql)
    other.run(ADD, 'a')
    return [before, settings(sql)]
  })
  expect(seen).toEqual([[], []])
  expect(settings(sql)).toEqual(['a'])
  expect(() => sql.snapshot(() => sql.get('SELECT * FROM absent_table'))).toThrow(/no such table/u)
  expect(sql.transaction(() => sql.run(ADD, 'b'))).toBe(1)
})

test('a connection that only reads sees what is committed, writes nothing, and knows a later schema', async () => {
  await using temp = await tempFolder()
  expect(() => new Sql(temp.join('db'), { readOnly: true })).toThrow()
  using sql = new Sql(temp.join('db'))
  using reader = new Sql(temp.join('db'), { readOnly: true })
  sql.run(ADD, 'a')
  expect(settings(reader)).toEqual(['a'])
  expect(() => reader.run(ADD, 'b')).toThrow(/readonly/u)
  reader.snapshot(() => {
    expect(settings(reader)).toEqual(['a'])
    // neither waits for the other
    sql.transaction(() => sql.run(ADD, 'c'))
    expect(settings(reader)).toEqual(['a'])
  })
  expect(settings(reader)).toEqual(['a', 'c'])
  sql.run(`PRAGMA user_version = ${MIGRATIONS.length + 1}`)
  expect(() => new Sql(temp.join('db'), { readOnly: true })).toThrow(expect.objectContaining({ code: 'STORE_VERSION' }))
})

test('the plan of a statement names its indexes', async () => {
  await using temp = await tempFolder()
  using sql = new Sql(temp.join('db'))
  expect(sql.plan('SELECT * FROM setting WHERE name = ?', 'a').join()).toMatch(/SEARCH setting USING INDEX/u)
  expect(sql.plan('SELECT * FROM setting WHERE value = ?', 'a')).toEqual(['SCAN setting'])
})
