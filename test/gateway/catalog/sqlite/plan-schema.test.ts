// The migration to plans: a catalog of the version before has plans that say the same, counts itself, and is to be written again.
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { acknowledged, examineOperations } from '../../../../gateway/catalog/sqlite/examine.ts'
import { OldCatalog } from '../../../../gateway/catalog/sqlite/old-catalog.ts'
import { plansOf } from '../../../../gateway/catalog/sqlite/plans.ts'
import { MIGRATIONS } from '../../../../gateway/catalog/sqlite/schema.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { TALLIED } from '../../../../gateway/catalog/sqlite/tally-schema.ts'
import { tempFolder } from '../../../support/temp.ts'

/** The version before there were plans. */
const BEFORE = 9

/** A catalog of that version with rules of a tenant and a group, and a machine with a policy. */
const makeOlder = (file: string): void => {
  using db = new DatabaseSync(file)
  for (const migration of MIGRATIONS.slice(0, BEFORE)) db.exec(String(migration))
  db.exec(`PRAGMA user_version = ${BEFORE}`)
  db.exec(`
    INSERT INTO tenant (id, name, uuid, id_key, chunk_bytes, created_ms) VALUES (3, 'a', 'u', x'0102', 4096, 1);
    INSERT INTO agent (id, tenant, host, public_key, enrolled_ms) VALUES ('g', 3, 'h', 'k', 1);
    INSERT INTO machine (tenant, name, agent, policy, created_ms, member_of) VALUES
      (3, 'db1', 'g', '{"consistency":"none","refuseFull":[]}', 1, 'db'), (3, 'web1', 'g', '{}', 1, NULL);
    INSERT INTO retention VALUES (3, 'tenant', '', '{"keepLast":1,"timeZone":"UTC"}'), (3, 'group', 'db', '{"keepDaily":7,"lockDays":2}');
    UPDATE tenant SET state_dirty = 0;`)
}

const PLANS = [
  { name: 'default', keep: { last: 1 }, covers: { others: true } },
  { name: 'group-db', keep: { daily: 7 }, lockDays: 2, covers: { groups: ['db'] } },
  { name: 'machine-db1', consistency: 'none', keep: { daily: 7 }, lockDays: 2, covers: { machines: ['db1'] } },
]

test('policies and retention become plans, and what they were in is gone', async () => {
  await using temp = await tempFolder()
  const file = temp.join('db')
  makeOlder(file)
  using old = OldCatalog.open(file)
  const facts = old.facts('plans', 3)
  expect(facts.whole).toBe(true)
  const before = facts.rows.map(({ name, rules }) => ({ name, ...(JSON.parse(rules) as object) }))
  expect(before).toMatchObject(PLANS)
  using sql = new Sql(file)
  expect(plansOf(sql, 3)).toMatchObject(PLANS)
  // whoever reads the older catalog finds the same
  expect(plansOf(sql, 3)).toEqual(before.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
  expect(examineOperations['condition.examine'].run(sql, { trusted: false })).toEqual([])
  expect(sql.get('SELECT state_dirty AS dirty FROM tenant')).toEqual({ dirty: 1 })
  const columns = sql.all<{ name: string }>("SELECT name FROM pragma_table_info('machine')").map(({ name }) => name)
  expect(columns).not.toContain('policy')
  expect(columns).toContain('member_of')
  expect(sql.all("SELECT name FROM sqlite_schema WHERE tbl_name = 'retention'")).toEqual([])
  expect(
    sql
      .all<{ name: string }>('SELECT name FROM tally')
      .map(({ name }) => name)
      .toSorted(),
  ).toEqual(['acknowledged', ...TALLIED].toSorted())
})

test('changes of plans and exclusions are acknowledged, and rows that changed by themselves are seen', async () => {
  await using temp = await tempFolder()
  makeOlder(temp.join('db'))
  using sql = new Sql(temp.join('db'))
  const counted = (work: string): number => {
    const before = acknowledged(sql)
    sql.run(work)
    return acknowledged(sql) - before
  }
  expect(counted("INSERT INTO exclusion VALUES (3, 'db1', 'ann', 'rebuilt', 5, NULL)")).toBe(1)
  expect(counted('UPDATE exclusion SET until_ms = 9')).toBe(1)
  expect(counted('DELETE FROM exclusion')).toBe(1)
  expect(counted("UPDATE plan SET rules = '{}' WHERE name = 'default'")).toBe(1)
  expect(counted("DELETE FROM plan WHERE name = 'default'")).toBe(1)
  expect(counted("UPDATE machine SET member_of = 'x'")).toBe(2)
  const examine = () => examineOperations['condition.examine'].run(sql, { trusted: false })
  expect(examine()).toEqual([])
  sql.run('DROP TRIGGER tally_plan_changed')
  sql.run("UPDATE plan SET rules = '[]' WHERE name = 'group-db'")
  expect(examine()).toEqual(['rows of the table plan are not as they were written'])
})
