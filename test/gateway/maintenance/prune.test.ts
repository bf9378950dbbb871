// Prune on a catalog: by each machine's nearest rules, by rules of the call, by name; dry runs; what is protected between
// plan and removal.
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { forgetDisks, setDiskSizes } from '../../support/catalog-damage.ts'
import { intercepted } from '../../support/intercept.ts'
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { armFailpoints } from '../../../gateway/common/failpoint.ts'
import { prune } from '../../../gateway/maintenance/prune.ts'
import type { Params, Result } from '../../../protocol/methods.ts'
import { KEEP_OFF } from '../../../protocol/plans.ts'
import { codeOf, testAuthority } from '../auth/test-authority.ts'
import { addAgent, addMachine, addPoint, setPlan } from '../catalog.ts'

const BY = { subject: 'anna', role: 'operator' } as const
const HOUR_MS = 3_600_000

const asked = (
  catalog: Catalog,
  tenant: Tenant,
  params: Partial<Params<'points.prune'>> = {},
): Promise<Result<'points.prune'>> => {
  const all = { machine: null, group: null, plan: null, rules: null, points: null, dryRun: false }
  return prune({ catalog, tenant, params: { ...all, ...params }, nowMs: 9 * HOUR_MS, by: BY })
}

/** Machines with a point in each of five hours, oldest first. */
const furnish = async (catalog: Catalog, tenant: Tenant, names: string[]): Promise<Record<string, string[]>> => {
  const agent = await addAgent(catalog, tenant)
  const points: Record<string, string[]> = {}
  for (const name of names) {
    const machine = await addMachine(catalog, tenant, agent, name)
    points[name] = []
    for (let hour = 1; hour <= 5; hour++)
      points[name].push(await addPoint(catalog, tenant, machine, { timeMs: hour * HOUR_MS, nowMs: hour * HOUR_MS }))
  }
  return points
}

const RULES = { keep: KEEP_OFF, timeZone: 'UTC' }

const keepLast = (last: number) => ({ ...RULES, keep: { ...KEEP_OFF, last } })

const left = async (catalog: Catalog, tenant: Tenant, machine: string): Promise<number[]> =>
  (await catalog.retention.points({ tenant: tenant.id, machine })).map(({ timeMs }) => timeMs / HOUR_MS)

test('each machine by its plan; one without rules keeps all; another tenant is not touched', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  await furnish(catalog, acme, ['a', 'b', 'c'])
  await furnish(catalog, other, ['a'])
  expect(await asked(catalog, acme)).toMatchObject({ pointCount: 15, removed: 0 })
  await setPlan(catalog, acme, 'all', { keep: { last: 3 } })
  await setPlan(catalog, acme, 'webs', { keep: { hourly: 2 } }, { groups: ['web'] })
  await setPlan(catalog, acme, 'own', { lockDays: 5 }, { machines: ['c'] })
  await catalog.machines.setGroup({ tenant: acme.id, name: 'b', group: 'web' })
  const dry = await asked(catalog, acme, { dryRun: true })
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
  expect(await left(catalog, acme, 'a')).toHaveLength(5)
  const done = await asked(catalog, acme)
  expect(done).toEqual(dry)
  expect(await left(catalog, acme, 'a')).toEqual([5, 4, 3])
  expect(await left(catalog, acme, 'b')).toEqual([5, 4])
  expect(await left(catalog, acme, 'c')).toEqual([5, 4, 3, 2, 1])
  expect(await left(catalog, other, 'a')).toHaveLength(5)
  expect(await asked(catalog, acme)).toMatchObject({ pointCount: 10, removed: 0 })
})

test('a machine, a group, and rules of the call in place of the plans', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  await furnish(catalog, acme, ['a', 'b', 'c'])
  await catalog.machines.setGroup({ tenant: acme.id, name: 'b', group: 'web' })
  const rules = keepLast(1)
  await setPlan(catalog, acme, 'all', { keep: { last: 4 } })
  expect(await asked(catalog, acme, { machine: 'a', rules })).toMatchObject({ pointCount: 5, removed: 4 })
  expect(await asked(catalog, acme, { group: 'web', rules: keepLast(2) })).toMatchObject({ removed: 3 })
  expect(await asked(catalog, acme, { machine: 'c' })).toMatchObject({ removed: 1 })
  for (const [machine, hours] of [
    ['a', [5]],
    ['b', [5, 4]],
    ['c', [5, 4, 3, 2]],
  ] as const)
    expect(await left(catalog, acme, machine)).toEqual(hours)
  expect(await codeOf(asked(catalog, acme, { machine: 'nowhere' }))).toBe('NOT_FOUND')
  expect(await codeOf(asked(catalog, acme, { group: 'nowhere' }))).toBe('NOT_FOUND')
  expect(await codeOf(asked(catalog, acme, { group: 'web', machine: 'b' }))).toBe('PARAMS_INVALID')
})

test('points by name go whatever the rules say, the last one too; a protected one keeps them all', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const { a, b } = (await furnish(catalog, acme, ['a', 'b'])) as { a: string[]; b: string[] }
  const id = a[4]!
  await catalog.points.hold({ tenant: acme.id, id, held: true })
  const named = { points: [a[0]!.slice(0, 13), a[0]!, id] }
  expect(await asked(catalog, acme, { ...named, dryRun: true })).toEqual({
    points: [
      { point: a[0], machine: 'a', timeMs: HOUR_MS, keptBy: [] },
      { point: id, machine: 'a', timeMs: 5 * HOUR_MS, keptBy: ['held'] },
    ],
    pointCount: 2,
    removed: 1,
  })
  await expect(asked(catalog, acme, named)).rejects.toMatchObject({ code: 'POINT_HELD', details: { point: id } })
  expect(await left(catalog, acme, 'a')).toHaveLength(5)
  await catalog.points.hold({ tenant: acme.id, id, held: false })
  expect(await asked(catalog, acme, named)).toMatchObject({ pointCount: 2, removed: 2 })
  expect(await left(catalog, acme, 'a')).toEqual([4, 3, 2])
  expect(await asked(catalog, acme, { points: b })).toMatchObject({ removed: 5 })
  expect(await left(catalog, acme, 'b')).toEqual([])
  expect(await codeOf(asked(catalog, acme, { points: [randomUUID()] }))).toBe('NOT_FOUND')
  expect(await codeOf(asked(catalog, other, { points: [a[1]!] }))).toBe('NOT_FOUND')
  expect(await codeOf(asked(catalog, acme, { points: [a[1]!], machine: 'a' }))).toBe('PARAMS_INVALID')
  expect(await codeOf(asked(catalog, acme, { points: [a[1]!], rules: RULES }))).toBe('PARAMS_INVALID')
  expect(await left(catalog, acme, 'a')).toEqual([4, 3, 2])
})

test('a point that is held between plan and removal stays, and is reported as kept', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const { a } = (await furnish(catalog, acme, ['a'])) as { a: string[] }
  const holding: Promise<void>[] = []
  using _armed = armFailpoints((name) => {
    if (name === 'prune') holding.push(catalog.points.hold({ tenant: acme.id, id: a[1]!, held: true }))
  })
  const done = await asked(catalog, acme, { rules: keepLast(3) })
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
  expect(await left(catalog, acme, 'a')).toEqual([5, 4, 3, 2])
})

test('a point that has no disk, or none with a byte, displaces no other and goes first', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, folder } = authority
  const { a } = (await furnish(catalog, acme, ['a'])) as { a: string[] }
  forgetDisks(folder, a[4]!)
  setDiskSizes(folder, 0, a[3]!)
  const rules = keepLast(1)
  const { points } = await asked(catalog, acme, { rules, dryRun: true })
  expect(points.map(({ timeMs, keptBy }) => [timeMs / HOUR_MS, keptBy.join(',')])).toEqual([
    [5, ''],
    [4, ''],
    [2, ''],
    [1, ''],
    [3, 'last,last-good'],
  ])
  // also a plan that was made before, or by a program before
  const plan = { tenant: acme.id, points: a, named: false, nowMs: 9 * HOUR_MS, by: BY }
  expect(await catalog.points.remove(plan)).toEqual({
    removed: 4,
    left: [{ id: a[2], reason: 'last-good' }],
  })
})

test('the point that the next backup continues stays while newer ones have no checkpoint, until a person names it', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const made: string[] = []
  const add = async (checkpoint: boolean): Promise<void> => {
    const timeMs = (made.length + 1) * HOUR_MS
    made.push(await addPoint(catalog, acme, machine, { timeMs, nowMs: timeMs, checkpoint }))
  }
  for (const checkpoint of [true, true, false, false]) await add(checkpoint)
  const rules = keepLast(1)
  const done = await asked(catalog, acme, { rules })
  expect(done.points.map(({ timeMs, keptBy }) => [timeMs / HOUR_MS, keptBy.join(',')])).toEqual([
    [3, ''],
    [1, ''],
    [4, 'last,last-good'],
    [2, 'next-base'],
  ])
  expect(await left(catalog, acme, 'a')).toEqual([4, 2])
  // also by a plan that was made before
  const plan = { tenant: acme.id, points: [made[1]!], named: false, nowMs: 9 * HOUR_MS, by: BY }
  expect(await catalog.points.remove(plan)).toEqual({ removed: 0, left: [{ id: made[1], reason: 'next-base' }] })
  await add(true)
  expect(await asked(catalog, acme, { rules })).toMatchObject({ removed: 2 })
  expect(await left(catalog, acme, 'a')).toEqual([5])
  await add(false)
  expect(await asked(catalog, acme, { rules })).toMatchObject({ removed: 0 })
  expect(await asked(catalog, acme, { points: [made[4]!] })).toMatchObject({ removed: 1 })
  expect(await left(catalog, acme, 'a')).toEqual([6])
})

test('a removal that fails leaves every point where it is', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  await furnish(catalog, acme, ['a', 'b'])
  {
    using _armed = armFailpoints((name) => {
      if (name === 'transaction.before') throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
    })
    expect(await codeOf(asked(catalog, acme, { rules: keepLast(1) }))).not.toBe('none')
  }
  expect(await left(catalog, acme, 'a')).toHaveLength(5)
  expect(await left(catalog, acme, 'b')).toHaveLength(5)
  expect(await asked(catalog, acme, { rules: keepLast(1) })).toMatchObject({ removed: 8 })
})

test('what rules let go of is removed a few at a time, so that backups of everybody go on between', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const agent = await addAgent(catalog, acme)
  const machine = await addMachine(catalog, acme, agent, 'a')
  const points: string[] = []
  for (let count = 0; count < 120; count++)
    points.push(await addPoint(catalog, acme, machine, { timeMs: HOUR_MS + count, nowMs: HOUR_MS + count }))
  const removals: number[] = []
  const watched = intercepted(catalog, (name, args, call) => {
    if (name === 'points.remove') removals.push((args as { points: readonly string[] }).points.length)
    return call()
  })
  const rules = keepLast(1)
  expect((await asked(watched, acme, { rules })).removed).toBe(119)
  expect(removals).toEqual([50, 50, 19])
  expect(await left(catalog, acme, 'a')).toHaveLength(1)
})

test('a plan is its machines: a what-if by other rules tells of them alone and removes nothing', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  await furnish(catalog, acme, ['a', 'b', 'c'])
  await setPlan(catalog, acme, 'all', { keep: { last: 3 } })
  await setPlan(catalog, acme, 'own', { keep: { last: 4 } }, { machines: ['b', 'c'] })
  const dry = await asked(catalog, acme, { plan: 'own', rules: keepLast(2), dryRun: true })
  expect(dry).toMatchObject({ pointCount: 10, removed: 6 })
  expect(new Set(dry.points.map(({ machine }) => machine))).toEqual(new Set(['b', 'c']))
  expect(await left(catalog, acme, 'b')).toHaveLength(5)
  expect(await asked(catalog, acme, { plan: 'own' })).toMatchObject({ pointCount: 10, removed: 2 })
  expect(await left(catalog, acme, 'a')).toHaveLength(5)
  expect(await codeOf(asked(catalog, acme, { plan: 'won' }))).toBe('NOT_FOUND')
  expect(await codeOf(asked(catalog, acme, { plan: 'own', machine: 'b' }))).toBe('PARAMS_INVALID')
  const point = dry.points[0]!.point
  expect(await codeOf(asked(catalog, acme, { plan: 'own', points: [point] }))).toBe('PARAMS_INVALID')
})
