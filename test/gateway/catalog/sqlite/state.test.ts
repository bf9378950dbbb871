// Which changes of the tables are noted for a tenant's state: each that packs must know of.
import path from 'node:path'
import { expect, test } from 'vitest'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { CATALOG_NAME } from '../../../../gateway/datastore/datastore.ts'
import { Stand } from '../../chains/script.ts'

test('every change that packs must know of is noted, and nothing else', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('one')
  const point = await stand.point(machine, [null])
  const store = stand.datastore.tenantStore(stand.tenant)
  await store.writeState()
  using sql = new Sql(path.join(stand.folder, CATALOG_NAME))
  const noted: string[] = []
  for (const statement of [
    "UPDATE tenant SET name = 'renamed'",
    'UPDATE tenant SET quota_soft = 5',
    "UPDATE agent SET host = 'other'",
    'UPDATE agent SET revoked_ms = 5',
    'UPDATE agent SET seen_ms = 5',
    "UPDATE agent SET site = 'dc1'",
    "INSERT INTO agent (id, tenant, host, public_key, enrolled_ms) VALUES ('a', 1, 'h', 'k', 1)",
    "INSERT INTO machine (id, tenant, name, agent, created_ms) VALUES (77, 1, 'two', 'a', 1)",
    "UPDATE machine SET uuid = 'u' WHERE id = 77",
    "UPDATE machine SET member_of = 'g'",
    'DELETE FROM machine WHERE id = 77',
    "INSERT INTO plan VALUES (1, 'p', '{}')",
    "UPDATE plan SET rules = '[]'",
    'DELETE FROM plan',
    "INSERT INTO exclusion VALUES (1, 'two', 's', 'r', 1, NULL)",
    'UPDATE exclusion SET until_ms = 5',
    'DELETE FROM exclusion',
    "INSERT INTO setting VALUES ('gateway', 'u')",
    "INSERT INTO setting VALUES ('other', 'u')",
    'UPDATE point SET held = 1',
    'UPDATE point SET locked_ms = 9',
    'UPDATE point SET verified_ms = 9',
    "INSERT INTO damage VALUES (1, x'00', 4, NULL, NULL, 'r', 1)",
    "INSERT INTO damage VALUES (1, x'01', 1, NULL, NULL, 'r', 1)",
    `UPDATE job SET state = 'running' WHERE id = '${point.id}'`,
    `UPDATE job SET state = 'failed' WHERE id = '${point.id}'`,
    `DELETE FROM image WHERE point = '${point.id}'`,
    `DELETE FROM point WHERE id = '${point.id}'`,
  ]) {
    sql.run(statement)
    if (sql.get('SELECT 1 FROM tenant WHERE state_dirty = 1') !== undefined) noted.push(statement)
    sql.run('UPDATE tenant SET state_dirty = 0')
  }
  const silent = ["'running'", 'seen_ms', "'other', 'u'", 'verified_ms', "x'01'", 'FROM image']
  expect(noted).toHaveLength(22)
  for (const word of silent) expect(noted.filter((statement) => statement.includes(word))).toEqual([])
})
