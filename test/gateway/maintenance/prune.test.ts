// Prune on a catalog: by each machine's nearest rules, by rules of the call, by name; dry runs; what is protected between plan and removal.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Database } from '../../../gateway/catalog/sqlite/database.ts'
import { Sql } from '../../../gateway/catalog/sqlite/sql.ts'
import type { Tenant } from '../../../gateway/catalog/sqlite/tenants.ts'
import { armFailpoints } from '../../../gateway/common/failpoint.ts'
import { prune } from '../../../gateway/maintenance/prune.ts'
import type { Params, Result } from '../../../protocol/methods.ts'
import { RETENTION_OFF, type Retention } from '../../../protocol/retention.ts'
import { codeOf, testAuthority } from '../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'

const BY = { subject: 'anna', role: 'operator' } as const
const HOUR_MS = 3_600_000

const asked = (
  database: Database,
  tenant: Tenant,
  params: Partial<Params<'points.prune'>> = {},
): Promise<Result<'points.prune'>> => {
  const all = { machine: null, group: null, rules: null, points: null, dryRun: false }
  return prune({ database, tenant, params: { ...all, ...params }, nowMs: 9 * HOUR_MS, by: BY })
}

/** Machines with a point in each of five hours, oldest first. */
const furnish = async (database: Database, tenant: Tenant, names: string[]): Promise<Record<string, string[]>> => {
  const agent = await addAgent(database, tenant)
  const points: Record<string, string[]> = {}
  for (const name of names) {
    const machine = await addMachine(database, tenant, agent, name)
    points[name] = []
    for (let hour = 1; hour <= 5; hour++)
      points[name].push(await addPoint(database, tenant, machine, { timeMs: hour * HOUR_MS, nowMs: hour * HOUR_MS }))
  }
  return points
}

const setRules = (
  database: Database,
  tenant: Tenant,
  scope: 'tenant' | 'group' | 'machine',
  name: string,
  rules: Partial<Retention>,
): Promise<void> =>
  database.call('retention.set', {
    tenant: tenant.id,
    scope,
    name,
    rules: JSON.stringify({ ...RETENTION_OFF, ...rules }),
  })

const left = async (database: Database, tenant: Tenant, machine: string): Promise<number[]> =>
  (await database.call('retention.points', { tenant: tenant.id, machine })).map(({ timeMs }) => timeMs / HOUR_MS)

test('each machine by its nearest rules; one without rules keeps all; another tenant is not touched', async () => {
  await using authority = await testAuthority()
  const { database, acme, other } = authority
  await furnish(database, acme, ['a', 'b', 'c'])
  await furnish(database, other, ['a'])
  expect(await asked(database, acme)).toMatchObject({ pointCount: 15, removed: 0 })
  await setRules(database, acme, 'tenant', '', { keepLast: 3 })
  await setRules(database, acme, 'group', 'web', { keepHourly: 2 })
  await setRules(database, acme, 'machine', 'c', { lockDays: 5 })
  await database.call('machine.setGroup', { tenant: acme.id, name: 'b', group: 'web' })
  const dry = await asked(database, acme, { dryRun: true })
  expect(dry).toMatchObject({ pointCount: 15, removed: 5 })
  // those that go come first
  expect(dry.points.map(({ machine, timeMs, keptBy }) => `${machine}${timeMs / HOUR_MS} ${keptBy.join(',')}`)).toEqual([
    'a2 ',
    'a1 ',
    'b3 ',
    'b2 ',
    'b1 ',
    'a5 last,last-good',
    'a4 last',
    'a3 last',
    'b5 hourly,last-good',
    'b4 hourly',
    'c5 no-rules,last-good',
    'c4 no-rules',
    'c3 no-rules',
    'c2 no-rules',
    'c1 no-rules',
  ])
  expect(await left(database, acme, 'a')).toHaveLength(5)
  const done = await asked(database, acme)
  expect(done).toEqual(dry)
  expect(await left(database, acme, 'a')).toEqual([5, 4, 3])
  expect(await left(database, acme, 'b')).toEqual([5, 4])
  expect(await left(database, acme, 'c')).toEqual([5, 4, 3, 2, 1])
  expect(await left(database, other, 'a')).toHaveLength(5)
  expect(await asked(database, acme)).toMatchObject({ pointCount: 10, removed: 0 })
})

test('a machine, a group, and rules of the call in place of the policies', async () => {
  await using authority = await testAuthority()
  const { database, acme } = authority
  await furnish(database, acme, ['a', 'b', 'c'])
  await database.call('machine.setGroup', { tenant: acme.id, name: 'b', group: 'web' })
  const rules = { ...RETENTION_OFF, keepLast: 1 }
  await setRules(database, acme, 'tenant', '', { keepLast: 4 })
  expect(await asked(database, acme, { machine: 'a', rules })).toMatchObject({ pointCount: 5, removed: 4 })
  expect(await asked(database, acme, { group: 'web', rules: { ...rules, keepLast: 2 } })).toMatchObject({ removed: 3 })
  expect(await asked(database, acme, { machine: 'c' })).toMatchObject({ removed: 1 })
  for (const [machine, hours] of [
    ['a', [5]],
    ['b', [5, 4]],
    ['c', [5, 4, 3, 2]],
  ] as const)
    expect(await left(database, acme, machine)).toEqual(hours)
  expect(await codeOf(asked(database, acme, { machine: 'nowhere' }))).toBe('NOT_FOUND')
  expect(await codeOf(asked(database, acme, { group: 'nowhere' }))).toBe('NOT_FOUND')
  expect(await codeOf(asked(database, acme, { group: 'web', machine: 'b' }))).toBe('PARAMS_INVALID')
})

test('points by name go whatever the rules say, the last one too; a protected one keeps them all', async () => {
  await using authority = await testAuthority()
  const { database, acme, other } = authority
  const { a, b } = (await furnish(database, acme, ['a', 'b'])) as { a: string[]; b: string[] }
  const id = a[4]!
  await database.call('point.hold', { tenant: acme.id, id, held: true })
  const named = { points: [a[0]!.slice(0, 13), a[0]!, id] }
  expect(await asked(database, acme, { ...named, dryRun: true })).toEqual({
    points: [
      { point: a[0], machine: 'a', timeMs: HOUR_MS, keptBy: [] },
      { point: id, machine: 'a', timeMs: 5 * HOUR_MS, keptBy: ['held'] },
    ],
    pointCount: 2,
    removed: 1,
  })
  await expect(asked(database, acme, named)).rejects.toMatchObject({ code: 'POINT_HELD', details: { point: id } })
  expect(await left(database, acme, 'a')).toHaveLength(5)
  await database.call('point.hold', { tenant: acme.id, id, held: false })
  expect(await asked(database, acme, named)).toMatchObject({ pointCount: 2, removed: 2 })
  expect(await left(database, acme, 'a')).toEqual([4, 3, 2])
  expect(await asked(database, acme, { points: b })).toMatchObject({ removed: 5 })
  expect(await left(database, acme, 'b')).toEqual([])
  expect(await codeOf(asked(database, acme, { points: [randomUUID()] }))).toBe('NOT_FOUND')
  expect(await codeOf(asked(database, other, { points: [a[1]!] }))).toBe('NOT_FOUND')
  expect(await codeOf(asked(database, acme, { points: [a[1]!], machine: 'a' }))).toBe('PARAMS_INVALID')
  expect(await codeOf(asked(database, acme, { points: [a[1]!], rules: RETENTION_OFF }))).toBe('PARAMS_INVALID')
  expect(await left(database, acme, 'a')).toEqual([4, 3, 2])
})

test('a point that is held between plan and removal stays, and is reported as kept', async () => {
  await using authority = await testAuthority()
  const { database, acme } = authority
  const { a } = (await furnish(database, acme, ['a'])) as { a: string[] }
  const holding: Promise<void>[] = []
  using _armed = armFailpoints((name) => {
    if (name === 'prune') holding.push(database.call('point.hold', { tenant: acme.id, id: a[1]!, held: true }))
  })
  const done = await asked(database, acme, { rules: { ...RETENTION_OFF, keepLast: 3 } })
  await Promise.all(holding)
  expect(holding).toHaveLength(1)
  expect(done).toMatchObject({ pointCount: 5, removed: 1 })
  expect(done.points.map(({ point, keptBy }) => [a.indexOf(point), keptBy.join(',')])).toEqual([
    [0, ''],
    [1, 'held'],
    [4, 'last,last-good'],
    [3, 'last'],
    [2, 'last'],
  ])
  expect(await left(database, acme, 'a')).toEqual([5, 4, 3, 2])
})

test('a point of an older program that has no disk, or none with a byte, displaces no other and goes first', async () => {
  await using authority = await testAuthority()
  const { database, acme, folder } = authority
  const { a } = (await furnish(database, acme, ['a'])) as { a: string[] }
  using sql = new Sql(path.join(folder, 'catalog.db'))
  sql.run('DELETE FROM image WHERE point = ?', a[4]!)
  sql.run('UPDATE image SET size = 0 WHERE point = ?', a[3]!)
  const rules = { ...RETENTION_OFF, keepLast: 1 }
  const { points } = await asked(database, acme, { rules, dryRun: true })
  expect(points.map(({ timeMs, keptBy }) => [timeMs / HOUR_MS, keptBy.join(',')])).toEqual([
    [5, ''],
    [4, ''],
    [2, ''],
    [1, ''],
    [3, 'last,last-good'],
  ])
  // also a plan that was made before, or by a program before
  const plan = { tenant: acme.id, points: a, named: false, nowMs: 9 * HOUR_MS, by: BY }
  expect(await database.call('point.remove', plan)).toEqual({
    removed: 4,
    left: [{ id: a[2], reason: 'last-good' }],
  })
})

test('a removal that fails leaves every point where it is', async () => {
  await using authority = await testAuthority()
  const { database, acme } = authority
  await furnish(database, acme, ['a', 'b'])
  {
    using _armed = armFailpoints((name) => {
      if (name === 'transaction.before') throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
    })
    expect(await codeOf(asked(database, acme, { rules: { ...RETENTION_OFF, keepLast: 1 } }))).not.toBe('none')
  }
  expect(await left(database, acme, 'a')).toHaveLength(5)
  expect(await left(database, acme, 'b')).toHaveLength(5)
  expect(await asked(database, acme, { rules: { ...RETENTION_OFF, keepLast: 1 } })).toMatchObject({ removed: 8 })
})

test('what rules let go of is removed a few at a time, so that backups of everybody go on between', async () => {
  await using authority = await testAuthority()
  const { database, acme } = authority
  const agent = await addAgent(database, acme)
  const machine = await addMachine(database, acme, agent, 'a')
  const points: string[] = []
  for (let count = 0; count < 120; count++)
    points.push(await addPoint(database, acme, machine, { timeMs: HOUR_MS + count, nowMs: HOUR_MS + count }))
  const removals: number[] = []
  const watched: Database = {
    call: (name, args) => {
      if (name === 'point.remove') removals.push((args as { points: readonly string[] }).points.length)
      return database.call(name, args)
    },
  }
  const rules = { ...RETENTION_OFF, keepLast: 1 }
  expect((await asked(watched, acme, { rules })).removed).toBe(119)
  expect(removals).toEqual([50, 50, 19])
  expect(await left(database, acme, 'a')).toHaveLength(1)
})
