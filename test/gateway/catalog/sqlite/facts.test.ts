// Every entry of the list of facts holds in the schema: its rows are written, read back, merged, and a change of them is noted.
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { FACT_NAMES, factLists, factOf, keyOf, type AnyRow, type FactName } from '../../../../gateway/catalog/facts.ts'
import { CatalogBuilder, type BuiltTenant } from '../../../../gateway/catalog/sqlite/catalog-builder.ts'
import { selectFact } from '../../../../gateway/catalog/sqlite/facts.ts'
import { OldCatalog } from '../../../../gateway/catalog/sqlite/old-catalog.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { temporaryFolder } from '../../datastore/fixture.ts'

const UUID = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214'

const ROWS: { readonly [N in FactName]: AnyRow } = {
  agents: { id: 'a', host: 'h', publicKey: 'k', enrolledMs: 1, revokedMs: null, site: 's1' },
  machines: { row: 7, name: 'db1', agent: 'a', group: 'g', createdMs: 2, uuid: UUID },
  plans: { name: 'nightly', rules: '{}' },
  exclusions: { machine: 'db1', by: 'ann', reason: 'rebuilt', sinceMs: 3, untilMs: null },
  missed: { point: UUID, disk: 'vda' },
}

const open = async () => {
  const folder = await temporaryFolder()
  const file = `${folder.path}/catalog.db`
  const sql = new Sql(file)
  const builder = new CatalogBuilder(sql)
  const add = (row: number, id: string): BuiltTenant =>
    builder.addTenant({
      row,
      id,
      name: 'acme',
      idKey: new Uint8Array(32),
      chunkBytes: 4096,
      createdMs: 1,
      quotaSoftBytes: null,
      quotaHardBytes: null,
    })
  return {
    file,
    sql,
    builder,
    add,
    rowsOf: (fact: FactName, tenant: BuiltTenant) => sql.all(selectFact(fact), tenant.row),
    [Symbol.asyncDispose]: async () => {
      sql[Symbol.dispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const furnish = (builder: CatalogBuilder, tenant: BuiltTenant): void => {
  for (const fact of FACT_NAMES) expect(builder.addFact(tenant, fact, ROWS[fact])).toBe(true)
}

test('an entry stands behind what it needs, and its key and the rest of it are fields', () => {
  for (const [index, fact] of FACT_NAMES.entries()) {
    const { fields, key, changing, lasting, needs } = factOf(fact)
    for (const field of [...key, ...changing, ...lasting, ...(needs === null ? [] : [needs[0]])])
      expect(Object.keys(fields)).toContain(field)
    if (needs !== null) expect(FACT_NAMES.slice(0, index)).toContain(needs[1])
  }
})

describe.each(FACT_NAMES)('%s', (fact) => {
  const { table, fields } = factOf(fact)

  test('what is put in is read back, here and from a catalog that is replaced, and fits its schema', async () => {
    await using catalog = await open()
    const tenant = catalog.add(3, 'one')
    furnish(catalog.builder, tenant)
    expect(catalog.rowsOf(fact, tenant)).toEqual([ROWS[fact]])
    expect(v.parse(factLists[fact], [ROWS[fact]])).toEqual([ROWS[fact]])
    catalog.sql.restartLog({ patient: false })
    using old = OldCatalog.open(catalog.file)
    expect(old.facts(fact, tenant.row)).toEqual({ rows: [ROWS[fact]], whole: true })
    expect(old.facts(fact, 99)).toEqual({ rows: [], whole: true })
  })

  test('a second row of the same key changes nothing but what the entry says, and that from the newest only', async () => {
    await using catalog = await open()
    const tenant = catalog.add(3, 'one')
    furnish(catalog.builder, tenant)
    const { changing, lasting } = factOf(fact)
    const other = (field: string, value: unknown): unknown =>
      lasting.includes(field) ? 9 : changing.includes(field) && field !== 'agent' ? `${String(value)}2` : value
    const second = Object.fromEntries(
      Object.entries(ROWS[fact]).map(([field, value]) => [field, other(field, value)]),
    ) as unknown as AnyRow
    expect(keyOf(fact, second)).toBe(keyOf(fact, ROWS[fact]))
    catalog.builder.addFact(tenant, fact, second, { newest: false })
    const kept = Object.fromEntries(lasting.map((field) => [field, 9]))
    expect(catalog.rowsOf(fact, tenant)).toEqual([{ ...ROWS[fact], ...kept }])
    catalog.builder.addFact(tenant, fact, second, { newest: true })
    expect(catalog.rowsOf(fact, tenant)).toEqual([second])
  })

  test('the tenant’s state counts as changed when a row comes, changes or goes', async () => {
    await using catalog = await open()
    const { sql } = catalog
    const tenant = catalog.add(3, 'one')
    furnish(catalog.builder, tenant)
    const dirty = (work: string): boolean => {
      sql.run('UPDATE tenant SET state_dirty = 0')
      sql.run(work)
      return sql.get<{ dirty: number }>('SELECT state_dirty AS dirty FROM tenant')!.dirty === 1
    }
    // what is never changed needs no note
    const changing = factOf(fact).removable ? Object.keys(fields) : [...factOf(fact).changing, ...factOf(fact).lasting]
    for (const field of changing)
      expect(dirty(`UPDATE ${table} SET "${fields[field]![0]}" = "${fields[field]![0]}"`)).toBe(true)
    if (factOf(fact).removable) expect(dirty(`DELETE FROM ${table}`)).toBe(true)
    sql.run('UPDATE tenant SET state_dirty = 0')
    if (factOf(fact).removable) furnish(catalog.builder, tenant)
    else catalog.builder.addFact(tenant, fact, { ...ROWS[fact], id: 'b', name: 'db2', row: 8, disk: 'vdb' })
    expect(sql.get('SELECT state_dirty AS dirty FROM tenant')).toEqual({ dirty: 1 })
  })
})

test('a row’s number is given again where it is free, and what it needs must be there', async () => {
  await using catalog = await open()
  const [one, two] = [catalog.add(3, 'one'), catalog.add(3, 'two')]
  expect([one.row, two.row === 3, two.name]).toEqual([3, false, 'acme-two'])
  expect(catalog.builder.addFact(one, 'machines', ROWS.machines)).toBe(false)
  furnish(catalog.builder, one)
  expect(catalog.builder.addFact(two, 'machines', ROWS.machines)).toBe(true)
  expect(catalog.rowsOf('machines', one)).toMatchObject([{ row: 7 }])
  expect(catalog.rowsOf('machines', two)).toMatchObject([{ row: 8 }])
})
