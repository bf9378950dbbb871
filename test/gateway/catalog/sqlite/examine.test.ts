// The look at the catalog: nothing to say of what was written, and a word for every byte that was not, wherever it lies.
import { randomBytes, randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { describe, expect, test } from 'vitest'
import { acknowledged } from '../../../../gateway/catalog/sqlite/examine.ts'
import { runOperation } from '../../../../gateway/catalog/sqlite/operations.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { TALLIED, tallyQuery } from '../../../../gateway/catalog/sqlite/tally-schema.ts'
import { testDice } from '../../../support/seed.ts'

const examine = (sql: Sql): string[] => runOperation(sql, 'condition.examine', { trusted: false })

/** A catalog with a tenant, three packs and some records. */
const filled = (): { sql: Sql; packs: number[] } => {
  const sql = new Sql(':memory:')
  const tenant = runOperation(sql, 'tenants.add', {
    name: 'acme',
    id: randomUUID(),
    idKey: new Uint8Array(randomBytes(32)),
    chunkBytes: 4096,
    nowMs: 1,
  })
  const packs = [0, 1, 2].map((nowMs) =>
    runOperation(sql, 'packs.add', { tenant: tenant.id, kind: 'data', uuid: randomUUID(), nowMs }),
  )
  for (const pack of packs)
    for (let index = 0; index < 40; index++)
      sql.run(
        'INSERT INTO chunk (tenant, id, type, pack, offset, stored, plain, codec, machine, parts, place) VALUES (?, ?, 1, ?, ?, 9, 10, 1, ?, 1, 0)',
        1,
        randomBytes(32),
        pack,
        48 + index * 61,
        index % 2 === 0 ? null : 7,
      )
  return { sql, packs }
}

/** Takes the counting away, as what writes below SQLite knows nothing of it. */
const uncounted = (sql: Sql, work: () => void): void => {
  const triggers = sql.all<{ name: string; sql: string }>(
    "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND (name LIKE 'tally_%' OR name LIKE 'pack_tally_%')",
  )
  for (const { name } of triggers) sql.run(`DROP TRIGGER ${name}`)
  work()
  for (const { sql: text } of triggers) sql.run(text)
}

test('finds nothing in what was written, moved, removed and replaced through SQLite', () => {
  const { sql, packs } = filled()
  using _ = sql
  expect(examine(sql)).toEqual([])
  sql.run('UPDATE chunk SET pack = ?, offset = offset + 5 WHERE pack = ? AND offset < 500', packs[0]!, packs[1]!)
  sql.run('DELETE FROM chunk WHERE pack = ? AND offset > 1000', packs[2]!)
  for (const reason of ['one', 'two'])
    sql.run("INSERT OR REPLACE INTO damage VALUES (1, x'aa', 1, NULL, NULL, ?, 5)", reason)
  runOperation(sql, 'packs.seal', { packs: [{ id: packs[0]!, bytes: 5000 }] })
  expect(examine(sql)).toEqual([])
})

test('names what was changed, lost or added below SQLite, in the index and in every table', () => {
  const dice = testDice()
  const changes = [
    'UPDATE chunk SET offset = offset + 1 WHERE id = (SELECT max(id) FROM chunk)',
    'UPDATE chunk SET machine = 8 WHERE id = (SELECT min(id) FROM chunk WHERE machine = 7)',
    'DELETE FROM chunk WHERE id = (SELECT max(id) FROM chunk)',
    "UPDATE pack SET uuid = substr(uuid, 1, 35) || 'g' WHERE id = 1",
    'UPDATE pack SET sealed = 2 WHERE id = 1',
    "UPDATE tenant SET id_key = x'00'",
    "INSERT INTO damage VALUES (1, x'aa', 1, NULL, NULL, 'r', 5)",
  ]
  for (const change of changes) {
    const { sql } = filled()
    using _ = sql
    uncounted(sql, () => sql.run(change))
    expect([dice.seed, change, examine(sql).length]).toEqual([dice.seed, change, 1])
  }
  // each bit of an id
  for (let round = 0; round < 8 * 32; round++) {
    const { sql } = filled()
    using _ = sql
    const { id } = dice.pick(sql.all<{ id: Uint8Array }>('SELECT id FROM chunk'))
    const flipped = Uint8Array.from(id)
    const at = round >> 3
    flipped[at]! ^= 1 << (round & 7)
    uncounted(sql, () => sql.run('UPDATE chunk SET id = ? WHERE id = ?', flipped, id))
    expect([dice.seed, round, examine(sql)]).toEqual([
      dice.seed,
      round,
      [expect.stringContaining('not as they were written')],
    ])
  }
})

/** Columns that are not summed: what changes all the time, or is derived, and says nothing of a backup. */
const UNCOUNTED: Readonly<Record<string, readonly string[]>> = {
  tenant: ['plans', 'state_dirty', 'state_id', 'state_seq'],
  agent: ['seen_ms'],
}

/** Columns whose change is acknowledged; rows that come and go are in all of these tables. */
const ACKNOWLEDGED: Readonly<Record<string, readonly string[]>> = {
  tenant: ['id_key', 'name', 'quota_hard', 'quota_soft', 'uuid'],
  agent: ['id', 'public_key', 'revoked_ms', 'site'],
  enrolment: ['used_ms'],
  token: ['revoked_ms'],
  machine: ['agent', 'member_of'],
  plan: ['rules'],
  exclusion: ['reason', 'since_ms', 'subject', 'until_ms'],
  job: ['state'],
  point: ['held', 'locked_ms'],
  missed: ['disk'],
  pack: ['sealed'],
}

interface Column {
  readonly name: string
  readonly type: string
  readonly optional: number
}

/** A catalog with one row in this table, every column of which has a value; what it belongs to is not there. */
const withRow = (table: string): { sql: Sql; columns: readonly Column[] } => {
  const sql = new Sql(':memory:')
  sql.get('PRAGMA foreign_keys = OFF')
  const columns = sql.all<Column>(
    'SELECT name, type, NOT "notnull" AND NOT pk AS optional FROM pragma_table_info(?)',
    table,
  )
  const values = columns.map(({ type }, index) =>
    type === 'INTEGER' ? index + 1 : type === 'TEXT' ? `t${index}` : Uint8Array.of(index, 7),
  )
  const names = columns.map(({ name }) => `"${name}"`).join(', ')
  sql.run(`INSERT INTO ${table} (${names}) VALUES (${values.map(() => '?').join(', ')})`, ...values)
  return { sql, columns }
}

const changed = ({ name, type }: Column): string =>
  type === 'INTEGER' ? `"${name}" + 1` : type === 'TEXT' ? `"${name}" || 'x'` : "x'0909'"

const countOf = (sql: Sql, table: string) => sql.get('SELECT rows, sum FROM tally WHERE name = ?', table)

describe.each(TALLIED)('every column of %s', (table) => {
  test('is summed: another value gives another sum, and the count follows it', () => {
    const { sql, columns } = withRow(table)
    using _ = sql
    const before = countOf(sql, table)
    expect(sql.get(tallyQuery(table))).toEqual(before)
    const same: string[] = []
    for (const column of columns)
      for (const value of [changed(column), ...(column.optional === 1 ? ['NULL'] : [])]) {
        sql.run('SAVEPOINT before')
        sql.run(`UPDATE ${table} SET "${column.name}" = ${value}`)
        const after = sql.get(tallyQuery(table))
        expect([column.name, value, countOf(sql, table)]).toEqual([column.name, value, after])
        if (isDeepStrictEqual(after, before)) same.push(column.name)
        sql.run('ROLLBACK TO before')
      }
    expect([...new Set(same)].toSorted()).toEqual(UNCOUNTED[table] ?? [])
  })

  test('is acknowledged where somebody is told of it', () => {
    const { sql, columns } = withRow(table)
    using _ = sql
    const known = (): number => acknowledged(sql)
    const counts = table in ACKNOWLEDGED ? 1 : 0
    expect(known()).toBe(counts)
    const told: string[] = []
    for (const column of columns) {
      const before = known()
      sql.run('SAVEPOINT before')
      sql.run(`UPDATE ${table} SET "${column.name}" = ${changed(column)}`)
      if (known() > before) told.push(column.name)
      sql.run('ROLLBACK TO before')
    }
    expect(told.toSorted()).toEqual(ACKNOWLEDGED[table] ?? [])
    sql.run(`DELETE FROM ${table}`)
    expect(known()).toBe(2 * counts)
    expect(countOf(sql, table)).toEqual({ rows: 0, sum: 0 })
  })
})

test('tables that are not counted are those without which all backups are what they are', () => {
  using sql = new Sql(':memory:')
  const tables = sql
    .all<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    .map(({ name }) => name)
    .filter((name) => !TALLIED.includes(name))
  const derived = ['carried', 'lost', 'lost_next', 'pack_tally', 'removed', 'sample', 'tally']
  const told = ['condition', 'event', 'event_head', 'notice', 'notice_cursor', 'notice_item', 'notice_mute']
  const planned = ['absent', 'pace', 'restore', 'run', 'upkeep', 'notice_rule', 'notice_target']
  const beside = ['drill', 'point_use']
  // the audit log has hashes, and the index is counted for each pack
  expect(tables.toSorted()).toEqual(
    [...derived, ...told, ...planned, ...beside, 'audit', 'chunk', 'setting'].toSorted(),
  )
})

test('a record that is gone is missed in its pack', () => {
  const { sql, packs } = filled()
  using _ = sql
  const { uuid } = sql.get<{ uuid: string }>('SELECT uuid FROM pack WHERE id = ?', packs[1]!)!
  uncounted(sql, () => sql.run('DELETE FROM chunk WHERE id = (SELECT id FROM chunk WHERE pack = ? LIMIT 1)', packs[1]!))
  expect(examine(sql)).toEqual([`the index has 39 records of pack ${uuid} and should have 40`])
})

test('what somebody was told of counts up; what nobody was told of does not', () => {
  const { sql, packs } = filled()
  using _ = sql
  const told = (): number => runOperation(sql, 'condition.acknowledged', {})
  const before = told()
  runOperation(sql, 'packs.seal', { packs: [{ id: packs[0]!, bytes: 5000 }] })
  sql.run('DELETE FROM chunk WHERE pack = ?', packs[0]!)
  const sealed = told()
  expect(sealed - before).toBe(1)
  runOperation(sql, 'packs.doom', { ids: [packs[0]!] })
  expect(told()).toBeGreaterThan(sealed)
})
