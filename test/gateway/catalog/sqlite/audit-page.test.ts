// Pages of the audit log: from either end, searched, numbered within the tenant, and never more than a bounded look.
import { expect, test } from 'vitest'
import { AUDIT_SCAN_MAX, type AuditAsked, type AuditPage } from '../../../../gateway/catalog/audit.ts'
import type { AuditRecord } from '../../../../gateway/catalog/audit-record.ts'
import { runOperation } from '../../../../gateway/catalog/sqlite/operations.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { testDice } from '../../../support/seed.ts'
import { tempFolder } from '../../../support/temp.ts'

const TENANTS = ['one', 'two'] as const

const openSql = (file: string): Sql => {
  const sql = new Sql(file)
  for (const id of TENANTS)
    runOperation(sql, 'tenants.add', { id, name: id, idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 })
  return sql
}

const record = (change: Partial<AuditRecord>): AuditRecord => ({
  timeMs: 1,
  tenant: 'one',
  subject: 'ann',
  role: 'owner',
  action: 'backup.start',
  resource: 'machine=db1',
  outcome: 'ok',
  details: {},
  ...change,
})

const append = (sql: Sql, records: readonly AuditRecord[]): void => {
  for (let from = 0; from < records.length; from += 1000)
    runOperation(sql, 'audit.appendAll', { records: records.slice(from, from + 1000) })
}

const ASKED = { tenant: 'one', newest: true, after: null, limit: 250, contains: null, failed: false } as const

/** Numbers of all entries that a search finds, and how many pages it took. */
const found = (sql: Sql, asked: Partial<AuditAsked<string | null>>): { seqs: number[]; pages: number } => {
  const seqs: number[] = []
  let pages = 0
  for (let after: number | null = null; ; pages++) {
    const page: AuditPage = runOperation(sql, 'audit.page', { ...ASKED, ...asked, after })
    seqs.push(...page.entries.map(({ seq }) => seq))
    if (page.next === null) return { seqs, pages: pages + 1 }
    after = page.next
  }
}

test('either end first, in pages of any size, while the log grows', async () => {
  await using temp = await tempFolder()
  using sql = openSql(temp.join('catalog.db'))
  const dice = testDice()
  const counts = { one: 0, two: 0 }
  for (let round = 0; round < 60; round++) {
    const records = Array.from({ length: 1 + dice.below(6) }, () => record({ tenant: dice.pick(TENANTS) }))
    append(sql, records)
    for (const { tenant } of records) counts[tenant as 'one' | 'two']++
    const tenant = dice.pick(TENANTS)
    const upwards = Array.from({ length: counts[tenant] }, (_, index) => index + 1)
    const limit = 1 + dice.below(9)
    expect(found(sql, { tenant, newest: false, limit }).seqs).toEqual(upwards)
    expect(found(sql, { tenant, limit }).seqs).toEqual(upwards.toReversed())
  }
  expect(found(sql, { tenant: null })).toEqual({ seqs: [], pages: 1 })
})

test('a page goes on where the one before ended, though entries came since', async () => {
  await using temp = await tempFolder()
  using sql = openSql(temp.join('catalog.db'))
  append(
    sql,
    Array.from({ length: 5 }, () => record({})),
  )
  const first = runOperation(sql, 'audit.page', { ...ASKED, limit: 2 })
  expect([first.entries.map(({ seq }) => seq), first.next]).toEqual([[5, 4], 4])
  append(sql, [record({})])
  const second = runOperation(sql, 'audit.page', { ...ASKED, limit: 3, after: first.next })
  expect([second.entries.map(({ seq }) => seq), second.next]).toEqual([[3, 2, 1], null])
})

test('a text is found in who, action, resource, outcome and details, whatever its case; refusals apart', async () => {
  await using temp = await tempFolder()
  using sql = openSql(temp.join('catalog.db'))
  append(sql, [
    record({ subject: 'Émile' }),
    record({ action: 'tokens.revoke', outcome: 'NOT_FOUND' }),
    record({ resource: 'machine=100%_x' }),
    record({ details: { address: '192.0.2.7' } }),
    record({ outcome: 'begun' }),
    record({ tenant: 'two', subject: 'émile' }),
  ])
  const search = (contains: string, failed = false): number[] => found(sql, { contains, failed }).seqs
  expect(search('émile')).toEqual([1])
  expect(search('TOKENS.rev')).toEqual([2])
  expect(search('not_found')).toEqual([2])
  expect(search('%_')).toEqual([3])
  expect(search('192.0.2.7')).toEqual([4])
  expect(search('nowhere')).toEqual([])
  expect(found(sql, { failed: true }).seqs).toEqual([2])
  expect(search('ann', true)).toEqual([2])
})

test('a search looks at a bounded number of entries a page, and finds all in the end', async () => {
  await using temp = await tempFolder()
  using sql = openSql(temp.join('catalog.db'))
  const entries = 2 * AUDIT_SCAN_MAX + 10
  append(
    sql,
    Array.from({ length: entries }, (_, index) => record({ subject: index === 3 ? 'needle' : 'hay' })),
  )
  const first = runOperation(sql, 'audit.page', { ...ASKED, contains: 'needle' })
  expect(first).toEqual({ entries: [], next: entries - AUDIT_SCAN_MAX + 1 })
  expect(found(sql, { contains: 'needle' })).toEqual({ seqs: [4], pages: 3 })
})
