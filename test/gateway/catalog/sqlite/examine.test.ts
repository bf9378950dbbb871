// The look at the catalog: nothing to say of what was written, and a word for every byte that was not, wherever it lies.
import { randomBytes, randomUUID } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { runOperation } from '../../../../gateway/catalog/sqlite/operations.ts'
import { MIGRATIONS } from '../../../../gateway/catalog/sqlite/schema.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { TALLIED, tallyAgain, tallyEnd } from '../../../../gateway/catalog/sqlite/tally-schema.ts'
import { tempFolder } from '../../../support/temp.ts'
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
        'INSERT INTO chunk (tenant, id, type, pack, offset, stored, plain, codec, machine) VALUES (?, ?, 1, ?, ?, 9, 10, 1, ?)',
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

test('a catalog from before is counted as it is when it is opened', async () => {
  await using temp = await tempFolder()
  {
    using db = new DatabaseSync(temp.join('db'))
    db.exec(String(MIGRATIONS[0]))
    db.exec('PRAGMA user_version = 1')
    db.exec("INSERT INTO tenant (name, uuid, id_key, chunk_bytes, created_ms) VALUES ('a', 'u', x'0102', 4096, 1)")
    db.exec("INSERT INTO pack VALUES (1, 1, 'data', 'p', 500, 1, 1)")
    db.exec('INSERT INTO chunk VALUES (1, randomblob(32), 1, 1, 48, 9, 10, 1, NULL)')
    db.exec('INSERT INTO chunk VALUES (1, randomblob(32), 1, 1, 109, 9, 10, 1, 7)')
  }
  using sql = new Sql(temp.join('db'))
  expect(examine(sql)).toEqual([])
  expect(sql.get('SELECT rows FROM pack_tally')).toEqual({ rows: 2 })
  expect(TALLIED).toContain('point')
  uncounted(sql, () => sql.run('DELETE FROM chunk WHERE machine = 7'))
  expect(examine(sql)).toEqual(['the index has 1 records of pack p and should have 2'])
})

test('tokens from before none could be without a tenant are what they were, in their order, and counted on', async () => {
  await using temp = await tempFolder()
  const tokens = `SELECT rowid, * FROM token ORDER BY rowid`
  const [before, told] = (() => {
    using db = new DatabaseSync(temp.join('db'))
    db.exec(MIGRATIONS.slice(0, 5).join('\n'))
    db.exec('PRAGMA user_version = 5')
    db.exec("INSERT INTO tenant (name, uuid, id_key, chunk_bytes, created_ms) VALUES ('a', 'u', x'0102', 4096, 1)")
    for (const id of ['z', 'm', 'a']) db.exec(`INSERT INTO token VALUES ('${id}', 1, 's', 'owner', 1, 2, NULL)`)
    db.exec("UPDATE token SET revoked_ms = 3 WHERE id = 'm'")
    return [db.prepare(tokens).all(), db.prepare("SELECT rows FROM tally WHERE name = 'acknowledged'").get()!['rows']]
  })()
  using sql = new Sql(temp.join('db'))
  expect(sql.all(tokens)).toEqual(before)
  expect(runOperation(sql, 'condition.acknowledged', {})).toBe(told)
  expect(examine(sql)).toEqual([])
  const args = {
    subject: 's',
    role: 'platform',
    nowMs: 4,
    expiresMs: 5,
  } as const
  runOperation(sql, 'tokens.add', { ...args, id: 'p', tenant: null })
  runOperation(sql, 'tokens.revoke', { tenant: null, id: 'p', nowMs: 5 })
  expect(runOperation(sql, 'condition.acknowledged', {})).toBe(Number(told) + 2)
  expect(examine(sql)).toEqual([])
  uncounted(sql, () => sql.run("DELETE FROM token WHERE id = 'p'"))
  expect(examine(sql)).toEqual(['the table token has 3 rows and should have 4'])
})

test('points from before attachments have none, and are counted on with the columns that came', async () => {
  await using temp = await tempFolder()
  {
    using db = new DatabaseSync(temp.join('db'))
    db.exec(MIGRATIONS.slice(0, 7).join('\n'))
    db.exec('PRAGMA user_version = 7')
    db.exec("INSERT INTO tenant (name, uuid, id_key, chunk_bytes, created_ms) VALUES ('a', 'u', x'0102', 4096, 1)")
    db.exec("INSERT INTO agent VALUES ('g', 1, 'h', 'k', 1, NULL, NULL)")
    db.exec("INSERT INTO machine VALUES (1, 1, 'm', 'g', '{}', 1, NULL)")
    db.exec(`INSERT INTO job (id, tenant, machine, agent, subject, state, "full", started_ms)
      VALUES ('j', 1, 1, 'g', 's', 'committed', 1, 1)`)
    db.exec(`INSERT INTO upload (job, disk, ordinal, size, kind, reason, has_base, position, state, finished, received, stored, changed)
      VALUES ('j', 'vda', 0, 512, 'full', 'first', 0, 1, x'', 1, 1, 1, 1)`)
    db.exec(`INSERT INTO point (id, tenant, machine, agent, time_ms, kind, reason, consistency, configuration, bytes_read, bytes_sent,
      bytes_stored, duration_ms, committed_ms, manifest) VALUES ('j', 1, 1, 'g', 1, 'full', 'first', 'crash', '{}', 1, 1, 1, 1, 1, x'aa')`)
    db.exec(
      "INSERT INTO image (point, disk, ordinal, size, kind, reason, changed) VALUES ('j', 'vda', 0, 512, 'full', 'first', 1)",
    )
  }
  using sql = new Sql(temp.join('db'))
  expect(examine(sql)).toEqual([])
  expect(sql.get('SELECT attachment FROM image')).toEqual({ attachment: 0 })
  expect(sql.get('SELECT missing FROM point')).toEqual({ missing: '[]' })
  const told = runOperation(sql, 'condition.acknowledged', {})
  sql.run("UPDATE point SET held = 1 WHERE id = 'j'")
  expect(runOperation(sql, 'condition.acknowledged', {})).toBe(told + 1)
  expect(examine(sql)).toEqual([])
  for (const [change, table] of [
    ['UPDATE image SET attachment = 1', 'image'],
    ['UPDATE upload SET attachment = 1', 'upload'],
    ["UPDATE point SET missing = '[1]'", 'point'],
  ] as const) {
    const before = sql.get<{ sum: number }>('SELECT sum FROM tally WHERE name = ?', table)
    uncounted(sql, () => sql.run(change))
    expect([change, examine(sql)]).toEqual([change, [`rows of the table ${table} are not as they were written`]])
    uncounted(sql, () =>
      sql.run(table === 'point' ? "UPDATE point SET missing = '[]'" : `UPDATE ${table} SET attachment = 0`),
    )
    expect(sql.get('SELECT sum FROM tally WHERE name = ?', table)).toEqual(before)
  }
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

test('agents and machines from before sites are in none and without a uuid, and are counted on; a site is acknowledged', async () => {
  await using temp = await tempFolder()
  {
    using db = new DatabaseSync(temp.join('db'))
    db.exec(MIGRATIONS.slice(0, 8).join('\n'))
    db.exec('PRAGMA user_version = 8')
    db.exec("INSERT INTO tenant (name, uuid, id_key, chunk_bytes, created_ms) VALUES ('a', 'u', x'0102', 4096, 1)")
    db.exec("INSERT INTO agent VALUES ('g', 1, 'h', 'k', 1, NULL, NULL)")
    db.exec("INSERT INTO machine VALUES (1, 1, 'm', 'g', '{}', 1, NULL)")
  }
  using sql = new Sql(temp.join('db'))
  expect(examine(sql)).toEqual([])
  expect(sql.get('SELECT site, uuid FROM agent JOIN machine ON machine.agent = agent.id')).toEqual({
    site: null,
    uuid: null,
  })
  const told = runOperation(sql, 'condition.acknowledged', {})
  sql.run("UPDATE agent SET site = 'dc1'")
  expect(runOperation(sql, 'condition.acknowledged', {})).toBe(told + 1)
  sql.run("UPDATE machine SET uuid = 'u'")
  expect(examine(sql)).toEqual([])
  for (const [change, table] of [
    ["UPDATE agent SET site = 'dc2'", 'agent'],
    ['UPDATE machine SET uuid = NULL', 'machine'],
  ] as const) {
    const was = sql.get<{ site: string; uuid: string }>('SELECT site, uuid FROM agent JOIN machine')!
    uncounted(sql, () => sql.run(change))
    expect([change, examine(sql)]).toEqual([change, [`rows of the table ${table} are not as they were written`]])
    uncounted(sql, () => {
      sql.run('UPDATE agent SET site = ?', was.site)
      sql.run('UPDATE machine SET uuid = ?', was.uuid)
    })
  }
  expect(examine(sql)).toEqual([])
})

test('points from before their agents told what they took say nothing of it, and are counted on', async () => {
  await using temp = await tempFolder()
  {
    using sql = new Sql(temp.join('db'))
    // the schema of the version before
    sql.script(`${tallyEnd('point')} ALTER TABLE point DROP COLUMN took; ${tallyAgain('point', 16)}`)
    sql.script(`INSERT INTO tenant (id, name, uuid, id_key, chunk_bytes, created_ms) VALUES (1, 'a', 'u', x'0102', 4096, 1);
      INSERT INTO agent (id, tenant, host, public_key, enrolled_ms) VALUES ('g', 1, 'h', 'k', 1);
      INSERT INTO machine (id, tenant, name, agent, created_ms) VALUES (1, 1, 'm', 'g', 1);
      INSERT INTO point (id, tenant, machine, agent, time_ms, kind, reason, consistency, configuration, bytes_read, bytes_sent,
      bytes_stored, duration_ms, committed_ms, manifest) VALUES ('j', 1, 1, 'g', 1, 'full', 'first', 'crash', '{}', 1, 1, 1, 1, 1, x'aa');
      PRAGMA user_version = 16`)
  }
  using sql = new Sql(temp.join('db'))
  expect(sql.get('PRAGMA user_version')).toEqual({ user_version: MIGRATIONS.length })
  expect(examine(sql)).toEqual([])
  expect(runOperation(sql, 'points.find', { tenant: 'u', agent: null, prefix: 'j' }).took).toBe(null)
  sql.run(`UPDATE point SET took = '{"frozenMs":1}'`)
  expect(examine(sql)).toEqual([])
  uncounted(sql, () => sql.run("UPDATE point SET took = NULL WHERE id = 'j'"))
  expect(examine(sql)).toEqual(['rows of the table point are not as they were written'])
})
