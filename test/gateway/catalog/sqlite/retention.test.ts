// Retention in the catalog: holds and locks that only grow, and removals that look again in their own transaction.
import type { Tenant } from '../../../../gateway/catalog/tenants.ts'
import { REMOVED_POINTS_MAX } from '../../../../gateway/catalog/retention.ts'
import type { MachineRow } from '../../../../gateway/catalog/machines.ts'
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Catalog } from '../../../../gateway/catalog/catalog.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { codeOf, testAuthority, type TestAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint, setPlan, startJob } from '../../catalog.ts'

const BY = { subject: 'anna', role: 'operator' } as const

/** A machine with points at 10, 20, ...; oldest first. */
const furnish = async (
  catalog: Catalog,
  tenant: Tenant,
  { name = 'db1', count = 4 }: { name?: string; count?: number } = {},
): Promise<{ machine: MachineRow; ids: string[] }> => {
  const machine = await addMachine(catalog, tenant, await addAgent(catalog, tenant), name)
  const ids: string[] = []
  for (let index = 1; index <= count; index++)
    ids.push(await addPoint(catalog, tenant, machine, { timeMs: index * 10, nowMs: index * 10 }))
  return { machine, ids }
}

const catalogOf = ({ folder }: TestAuthority): Sql => new Sql(path.join(folder, 'catalog.db'))

const damage = (authority: TestAuthority, point: string): void => {
  using sql = catalogOf(authority)
  sql.run("INSERT INTO lost (point, disk, offset, length, id) VALUES (?, 'vda', 0, 4096, x'00')", point)
}

test('a lock is only ever made longer, by nothing released, and tells until when', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const { ids } = await furnish(catalog, acme, { count: 1 })
  const id = ids[0]!
  const lock = (untilMs: number, tenant = acme): Promise<void> =>
    catalog.points.lock({ tenant: tenant.id, id, untilMs })
  await lock(1000)
  expect(await codeOf(lock(1000))).toBe('POINT_HELD')
  expect(await codeOf(lock(999))).toBe('POINT_HELD')
  await expect(lock(1)).rejects.toMatchObject({
    message: expect.stringContaining('1970-01-01T00:00:01.000Z') as string,
  })
  await lock(1001)
  await catalog.points.hold({ tenant: acme.id, id, held: true })
  await catalog.points.hold({ tenant: acme.id, id, held: false })
  expect(await catalog.retention.point({ tenant: acme.id, id })).toMatchObject({
    held: false,
    lockedUntilMs: 1001,
  })
  expect(await codeOf(lock(5000, other))).toBe('NOT_FOUND')
  expect(await codeOf(catalog.points.hold({ tenant: other.id, id, held: true }))).toBe('NOT_FOUND')
  const remove = (nowMs: number): Promise<unknown> =>
    catalog.points.remove({ tenant: acme.id, points: [id], named: true, nowMs, by: BY })
  expect(await codeOf(remove(1000))).toBe('POINT_HELD')
  expect(await codeOf(remove(1001))).toBe('none')
})

test('a removal takes the point, its images and its damage, leaves the job, and is in the audit log', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const { machine, ids } = await furnish(catalog, acme)
  damage(authority, ids[0]!)
  damage(authority, ids[1]!)
  const points = ids.slice(0, 2)
  const removal = { tenant: acme.id, points, named: false, nowMs: 77, by: BY }
  expect(await catalog.points.remove(removal)).toEqual({ removed: 2, left: [] })
  const rows = await catalog.retention.points({ tenant: acme.id, machine: machine.name })
  expect(rows.map(({ id, damaged }) => [id, damaged])).toEqual([
    [ids[3], false],
    [ids[2], false],
  ])
  using sql = catalogOf(authority)
  const count = (table: string): number => sql.get<{ n: number }>(`SELECT count(*) AS n FROM ${table}`)!.n
  expect(['point', 'image', 'lost', 'job', 'upload'].map(count)).toEqual([2, 2, 0, 4, 4])
  const entries = await catalog.audit.list({ tenant: acme.id, afterSeq: 0, limit: 100 })
  expect(entries.filter(({ action }) => action === 'points.remove')).toMatchObject(
    points.map((id, index) => ({
      timeMs: 77,
      subject: 'anna',
      role: 'operator',
      resource: `point=${id}`,
      outcome: 'ok',
      details: { machine: 'db1', timeMs: (index + 1) * 10 },
    })),
  )
  expect((await catalog.audit.check({ after: null })).brokenSeq).toBe(null)
  // the same plan of somebody who came later
  expect(await catalog.points.remove(removal)).toEqual({ removed: 0, left: [] })
})

test('what became held, locked, in use or the last good one since the plan is left, and named', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const { machine, ids } = await furnish(catalog, acme, { count: 6 })
  const [held, locked, goes, lastGood, damaged, inUse] = ids as [string, string, string, string, string, string]
  await catalog.points.hold({ tenant: acme.id, id: held, held: true })
  await catalog.points.lock({ tenant: acme.id, id: locked, untilMs: 501 })
  damage(authority, damaged)
  damage(authority, inUse)
  // the newest point is the base of what runs now
  await startJob(catalog, acme, machine, { nowMs: 400 })
  const points = await catalog.retention.points({ tenant: acme.id, machine: 'db1' })
  expect(points.map(({ id, inUse }) => [id, inUse]).filter(([, used]) => used)).toEqual([[inUse, true]])
  const removal = { tenant: acme.id, points: ids, named: false, nowMs: 500, by: BY }
  expect(await catalog.points.remove(removal)).toEqual({
    removed: 2,
    left: [
      { id: held, reason: 'held' },
      { id: locked, reason: 'locked' },
      { id: lastGood, reason: 'last-good' },
      { id: inUse, reason: 'in-use' },
    ],
  })
  const left = await catalog.retention.points({ tenant: acme.id, machine: 'db1' })
  expect(left.map(({ id }) => id)).toEqual([inUse, lastGood, locked, held])
  expect(left.map(({ id }) => id)).not.toContain(goes)
})

test('points that a person names go all or none; the last good one may, what is protected may not', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const { machine, ids } = await furnish(catalog, acme)
  const remove = (points: string[], tenant = acme): Promise<{ removed: number }> =>
    catalog.points.remove({ tenant: tenant.id, points, named: true, nowMs: 500, by: BY })
  await catalog.points.hold({ tenant: acme.id, id: ids[1]!, held: true })
  await expect(remove([ids[0]!, ids[1]!, ids[2]!])).rejects.toMatchObject({
    code: 'POINT_HELD',
    message: expect.stringContaining(ids[1]!) as string,
    details: { point: ids[1], reason: 'held' },
  })
  expect(await codeOf(remove([ids[0]!, randomUUID()]))).toBe('NOT_FOUND')
  expect(await codeOf(remove([ids[0]!], other))).toBe('NOT_FOUND')
  const all = await catalog.retention.points({ tenant: acme.id, machine: machine.name })
  expect(all).toHaveLength(4)
  await catalog.points.hold({ tenant: acme.id, id: ids[1]!, held: false })
  expect(await remove(ids)).toMatchObject({ removed: 4 })
  expect(await catalog.retention.points({ tenant: acme.id, machine: machine.name })).toEqual([])
  expect(await codeOf(catalog.retention.points({ tenant: other.id, machine: 'db1' }))).toBe('NOT_FOUND')
})

test('what changes nothing does not make the state to be written again', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const { ids } = await furnish(catalog, acme, { count: 1 })
  const tenant = acme.id
  const [id] = ids as [string]
  const changes = {
    hold: () => catalog.points.hold({ tenant, id, held: true }),
    plan: () => setPlan(catalog, acme, 'p', { lockDays: 1 }),
    group: () => catalog.machines.setGroup({ tenant, name: 'db1', group: 'web' }),
    release: () => catalog.points.hold({ tenant, id, held: false }),
    otherPlan: () => setPlan(catalog, acme, 'p', { lockDays: 2 }),
    noPlan: () => catalog.plans.apply({ tenant, plans: [], replace: true }),
    noGroup: () => catalog.machines.setGroup({ tenant, name: 'db1', group: null }),
  }
  /** 1 where the change is to be written. */
  const dirtyAfter = async (change: () => Promise<unknown>): Promise<number | undefined> => {
    using sql = catalogOf(authority)
    sql.run('UPDATE tenant SET state_dirty = 0')
    await change()
    return sql.get<{ dirty: number }>('SELECT state_dirty AS dirty FROM tenant WHERE uuid = ?', tenant)?.dirty
  }
  for (const [name, change] of Object.entries(changes))
    expect([name, await dirtyAfter(change), await dirtyAfter(change)]).toEqual([name, 1, 0])
  expect(await catalog.plans.list({ tenant })).toEqual([])
})

test('one removal is bounded', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const points = Array.from({ length: REMOVED_POINTS_MAX + 1 }, () => randomUUID())
  const removal = { tenant: acme.id, points, named: false, nowMs: 1, by: BY }
  expect(await codeOf(catalog.points.remove(removal))).toBe('LIMIT_REACHED')
})
