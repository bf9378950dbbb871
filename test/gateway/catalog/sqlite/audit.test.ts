// The audit chain: whatever is edited, deleted, added or cut off beside the log is found.
import type { AuditRecord } from '../../../../gateway/catalog/audit-record.ts'
import { AUDIT_PAGE_MAX, type AuditCheck } from '../../../../gateway/catalog/audit.ts'
import { DatabaseSync } from 'node:sqlite'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AUDIT_DETAILS_CHARS_MAX, AUDIT_TEXT_CHARS_MAX } from '../../../../gateway/catalog/sqlite/audit.ts'
import { runOperation } from '../../../../gateway/catalog/sqlite/operations.ts'
import { testDice } from '../../../support/seed.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { tempFolder } from '../../../support/temp.ts'

const [ONE, TWO] = ['one', 'two']

/** A catalog with two tenants. */
const openSql = (file: string): Sql => {
  const sql = new Sql(file)
  for (const id of [ONE, TWO])
    runOperation(sql, 'tenants.add', { id, name: id, idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 })
  return sql
}

/** A page that is not searched, the oldest first. */
const ALL = { newest: false, contains: null, failed: false } as const

const append = (sql: Sql, one: AuditRecord): void => runOperation(sql, 'audit.appendAll', { records: [one] })

const record = (change: Partial<AuditRecord> = {}): AuditRecord => ({
  timeMs: 1_700_000_000_000,
  tenant: ONE,
  subject: 'ann',
  role: 'operator',
  action: 'backup.start',
  resource: 'db1',
  outcome: 'ok',
  details: { full: true },
  ...change,
})

const check = (sql: Sql): number | null => {
  let at: AuditCheck | null = null
  do at = runOperation(sql, 'audit.check', { after: at })
  while (!at.done)
  return at.brokenSeq
}

/** A database with `count` entries, changed by SQL behind its back, then checked. */
const checkAfter = async (count: number, tamper: string): Promise<number | null> => {
  await using temp = await tempFolder()
  const file = temp.join('catalog.db')
  {
    using sql = openSql(file)
    for (let i = 0; i < count; i++) append(sql, record({ resource: `db${i}` }))
    expect(check(sql)).toBeNull()
  }
  const db = new DatabaseSync(file)
  db.exec(tamper)
  db.close()
  using sql = new Sql(file)
  return check(sql)
}

describe('the chain', () => {
  test.each([
    ['time', 'time_ms = time_ms + 1', 4],
    ['tenant', 'tenant = 2', 4],
    ['tenant taken away', 'tenant = NULL', 4],
    ['subject', "subject = 'bob'", 4],
    ['role', "role = 'owner'", 4],
    ['action', "action = 'backup.cancel'", 4],
    ['resource', "resource = ''", 4],
    ['outcome', "outcome = 'NOT_FOUND'", 4],
    ['details', "details = '{}'", 4],
    ['text moved from one column to the next', "subject = 'an', role = 'noperator'", 4],
    ['previous', 'previous = zeroblob(32)', 4],
    ['hash', 'hash = zeroblob(32)', 4],
    ['sequence number', 'seq = 100', 4],
  ])('an edited %s is found', async (_, change, seq) => {
    expect(await checkAfter(7, `UPDATE audit SET ${change} WHERE seq = ${seq}`)).toBe(seq)
  })

  test.each([1, 2, 4, 6, 7])('a deleted entry %i of 7 is found', async (seq) => {
    expect(await checkAfter(7, `DELETE FROM audit WHERE seq = ${seq}`)).toBe(seq)
  })

  test('a cut tail, an emptied log and a lost head are found', async () => {
    expect(await checkAfter(7, 'DELETE FROM audit WHERE seq > 3')).toBe(4)
    expect(await checkAfter(7, 'DELETE FROM audit')).toBe(1)
    expect(await checkAfter(7, "DELETE FROM setting WHERE name = 'audit-head'")).not.toBeNull()
  })

  test('two entries exchanged, and one added beside the log, are found', async () => {
    const swap =
      'UPDATE audit SET seq = -2 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = -2'
    expect(await checkAfter(5, swap)).toBe(2)
    const copy = `INSERT INTO audit SELECT 6, time_ms, tenant, subject, role, action, resource, outcome, details,
      (SELECT hash FROM audit WHERE seq = 5), hash FROM audit WHERE seq = 5`
    expect(await checkAfter(5, copy)).toBe(6)
  })

  test('what is appended after a cut does not heal it', async () => {
    await using temp = await tempFolder()
    using sql = openSql(temp.join('catalog.db'))
    for (let i = 0; i < 5; i++) append(sql, record())
    sql.run('DELETE FROM audit WHERE seq = 5')
    append(sql, record())
    expect(sql.get('SELECT max(seq) AS seq FROM audit')).toEqual({ seq: 6 })
    expect(check(sql)).toBe(5)
  })

  test('a log longer than one part is checked to its end', async () => {
    const count = AUDIT_PAGE_MAX + 2
    const bulk = `UPDATE audit SET subject = 'x' WHERE seq = ${count}`
    expect(await checkAfter(count, bulk)).toBe(count)
    expect(await checkAfter(AUDIT_PAGE_MAX, `DELETE FROM audit WHERE seq = ${AUDIT_PAGE_MAX}`)).toBe(AUDIT_PAGE_MAX)
  })

  test('an empty log is whole', async () => {
    await using temp = await tempFolder()
    using sql = openSql(temp.join('catalog.db'))
    expect(check(sql)).toBeNull()
  })
})

describe('entries', () => {
  test('any text and details come back whole enough for the chain to hold', async () => {
    await using temp = await tempFolder()
    using sql = openSql(temp.join('catalog.db'))
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom('\uD800', '\u0000', 'a', '"') }),
    )
    const value = fc.oneof(text, fc.double(), fc.boolean(), fc.constant(null))
    const records = fc.record({ subject: text, resource: text, details: fc.dictionary(text, value) })
    fc.assert(
      fc.property(records, (change) => {
        append(sql, record(change))
        expect(check(sql)).toBeNull()
      }),
      { numRuns: 50 },
    )
  })

  test('the order of details does not matter', async () => {
    await using temp = await tempFolder()
    using sql = openSql(temp.join('catalog.db'))
    append(sql, record({ details: { b: 1, a: 2 } }))
    expect(sql.get('SELECT details FROM audit')).toMatchObject({ details: '{"a":2,"b":1}' })
  })

  test('long ones are cut, and control characters cannot forge a line', async () => {
    await using temp = await tempFolder()
    using sql = openSql(temp.join('catalog.db'))
    const long = 'x'.repeat(AUDIT_DETAILS_CHARS_MAX)
    append(sql, record({ subject: `a\n${long}`, details: { long } }))
    const [entry] = runOperation(sql, 'audit.list', { tenant: ONE, afterSeq: 0, limit: 1 })
    expect(entry?.subject).toHaveLength(AUDIT_TEXT_CHARS_MAX)
    expect(entry?.subject.startsWith('a\uFFFDx')).toBe(true)
    expect(entry?.details).toEqual({ cut: true })
    expect(check(sql)).toBeNull()
  })

  test('a tenant lists its own, page by page; the gateway’s own are apart', async () => {
    await using temp = await tempFolder()
    using sql = openSql(temp.join('catalog.db'))
    for (const tenant of [ONE, TWO, null, ONE, TWO, ONE]) append(sql, record({ tenant }))
    const seqs = (tenant: string | null, afterSeq: number, limit: number): number[] =>
      runOperation(sql, 'audit.list', { tenant, afterSeq, limit }).map(({ seq }) => seq)
    expect(seqs(ONE, 0, 2)).toEqual([1, 4])
    expect(seqs(ONE, 4, 2)).toEqual([6])
    expect(seqs(TWO, 0, 9)).toEqual([2, 5])
    expect(seqs(null, 0, 9)).toEqual([3])
    expect(seqs(ONE, 0, -1)).toEqual([])
    // what a tenant is shown is numbered within it
    const page = (tenant: string, after: number, limit: number): number[] =>
      runOperation(sql, 'audit.page', { ...ALL, tenant, after, limit }).entries.map(({ seq }) => seq)
    expect(page(ONE, 0, 2)).toEqual([1, 2])
    expect(page(ONE, 2, 2)).toEqual([3])
    expect(page(TWO, 0, 9)).toEqual([1, 2])
    expect(page(TWO, 2, 9)).toEqual([])
  })

  test('pages are the same in whatever order they are asked for, while the log grows', async () => {
    await using temp = await tempFolder()
    using sql = openSql(temp.join('catalog.db'))
    const page = (tenant: string, after: number, limit: number): [number, string][] =>
      runOperation(sql, 'audit.page', { ...ALL, tenant, after, limit }).entries.map((one) => [one.seq, one.resource])
    const entries: Record<string, string[]> = { [ONE]: [], [TWO]: [] }
    const dice = testDice()
    for (let round = 0; round < 300; round++) {
      const tenant = dice.pick([ONE, TWO])
      entries[tenant]!.push(`entry ${round}`)
      append(sql, record({ tenant, resource: `entry ${round}` }))
      const asked = dice.pick([ONE, TWO])
      const after = dice.below(entries[asked]!.length + 2)
      const limit = 1 + dice.below(20)
      const expected = entries[asked]!.slice(after, after + limit).map((text, index) => [after + index + 1, text])
      expect(page(asked, after, limit)).toEqual(expected)
    }
    // who reads on goes to its place
    expect(page(ONE, 0, 40).at(-1)?.[0]).toBe(40)
    expect(page(ONE, 40, 1)).toEqual([[41, entries[ONE]![40]]])
  })
})
