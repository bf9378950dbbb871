// The keeper of states: what changed is written at once, soon after a change beside it, and at the end; without space nothing else is held up.
import path from 'node:path'
import { expect, test } from 'vitest'
import { Sql } from '../../../gateway/catalog/sqlite/sql.ts'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { armFailpoints } from '../../../gateway/common/failpoint.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { keepState, StateKeeper } from '../../../gateway/maintenance/keep-state.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually } from '../../support/temp.ts'
import { Stand } from '../chains/script.ts'
import { addTenant } from '../datastore/fixture.ts'

const log = openLog({ level: 'silent' })

const dirty = (stand: Stand): number[] => {
  using sql = new Sql(path.join(stand.folder, CATALOG_NAME))
  return sql.all<{ dirty: number }>('SELECT state_dirty AS dirty FROM tenant ORDER BY id').map((row) => row.dirty)
}

test('writes every tenant’s state at once, after an interval, and at the end', async () => {
  await using stand = await Stand.open()
  const { datastore } = stand
  await addTenant(datastore, 'other')
  const clock = new HandClock(1000)
  {
    await using _ = new StateKeeper({ datastore, clock, log })
    await eventually(() => dirty(stand).every((one) => one === 0))
    {
      // a command beside the gateway
      using sql = new Sql(path.join(stand.folder, CATALOG_NAME))
      sql.run("UPDATE tenant SET quota_hard = 5 WHERE name = 'other'")
    }
    expect(dirty(stand)).toEqual([0, 1])
    await eventually(() => {
      clock.advance(5000)
      return dirty(stand).every((one) => one === 0)
    })
    await stand.machine('one')
    expect(dirty(stand)).toEqual([1, 0])
  }
  expect(dirty(stand)).toEqual([0, 0])
})

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
    "INSERT INTO agent VALUES ('a', 1, 'h', 'k', 1, NULL, NULL)",
    "INSERT INTO machine VALUES (77, 1, 'two', 'a', '{}', 1, NULL)",
    "UPDATE machine SET member_of = 'g'",
    'DELETE FROM machine WHERE id = 77',
    "INSERT INTO retention VALUES (1, 'tenant', '', '{}')",
    "UPDATE retention SET rules = '[]'",
    'DELETE FROM retention',
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
    if (dirty(stand)[0] === 1) noted.push(statement)
    sql.run('UPDATE tenant SET state_dirty = 0')
  }
  const silent = ["'running'", 'seen_ms', "'other', 'u'", 'verified_ms', "x'01'", 'FROM image']
  expect(noted).toHaveLength(17)
  for (const word of silent) expect(noted.filter((statement) => statement.includes(word))).toEqual([])
})

test('a state that cannot be written is left for later', async () => {
  await using stand = await Stand.open()
  const store = stand.datastore.tenantStore(stand.tenant)
  {
    using _ = armFailpoints((name) => {
      if (name === 'state.write') throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    })
    await keepState(store, log)
    expect(dirty(stand)).toEqual([2])
  }
  await keepState(store, log)
  expect(dirty(stand)).toEqual([0])
})
