// Which points are to be verified and in which order, where their trees begin, and what stays of it.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'

test('points never verified come first, then those verified longest ago; machine, point and age narrow', async () => {
  await using authority = await testAuthority()
  const { database, acme, other } = authority
  const agent = await addAgent(database, acme)
  const a = await addMachine(database, acme, agent, 'a')
  const b = await addMachine(database, acme, agent, 'b')
  const points: string[] = []
  for (let index = 0; index < 4; index++)
    points.push(await addPoint(database, acme, index < 3 ? a : b, { timeMs: index }))
  const all = { tenant: acme.id, point: null, machine: null, age: null }
  const verified = (point: string, nowMs: number) =>
    database.call('point.verified', { tenant: acme.id, points: [point], nowMs })
  await verified(points[0]!, 50)
  await verified(points[2]!, 40)
  expect(await database.call('point.toVerify', all)).toEqual([points[3], points[1], points[2], points[0]])
  expect(await database.call('point.toVerify', { ...all, age: { beforeMs: 50, nowMs: 1000 } })).toEqual([
    points[3],
    points[1],
    points[2],
  ])
  // a look that is later than now was dated by a clock that was ahead
  const set = { beforeMs: 30, nowMs: 45 }
  expect(await database.call('point.toVerify', { ...all, age: set })).toEqual([points[3], points[1], points[0]])
  expect(await database.call('point.toVerify', { ...all, machine: 'b' })).toEqual([points[3]])
  expect(await database.call('point.toVerify', { ...all, point: points[0]! })).toEqual([points[0]])
  expect(await database.call('point.toVerify', { ...all, tenant: other.id })).toEqual([])
})

test('a point’s trees begin where its images say, for its tenant alone', async () => {
  await using authority = await testAuthority()
  const { database, acme, other } = authority
  const machine = await addMachine(database, acme, await addAgent(database, acme), 'a')
  const root = new Uint8Array(32).fill(3)
  const point = await addPoint(database, acme, machine, { size: 8192, root })
  expect(await database.call('point.roots', { tenant: acme.id, point })).toEqual({
    id: point,
    manifest: new Uint8Array(32),
    images: [{ disk: 'vda', size: 8192, root }],
  })
  expect(await database.call('point.roots', { tenant: other.id, point })).toBeNull()
  expect(await database.call('point.roots', { tenant: acme.id, point: randomUUID() })).toBeNull()
  const pack = await database.call('pack.add', { tenant: acme.id, kind: 'data', uuid: randomUUID(), nowMs: 1 })
  await database.call('pack.seal', { packs: [{ id: pack, bytes: 700 }] })
  expect(await database.call('pack.tenantBytes', { tenant: acme.id })).toBe(700)
  expect(await database.call('pack.tenantBytes', { tenant: other.id })).toBe(0)
})

test('a damaged manifest leaves no point whole', async () => {
  await using authority = await testAuthority()
  const { database, acme } = authority
  const machine = await addMachine(database, acme, await addAgent(database, acme), 'a')
  const point = await addPoint(database, acme, machine)
  const whole = () => database.call('point.whole', { tenant: acme.id, points: [point] })
  expect(await whole()).toBe(1)
  const manifest = { id: new Uint8Array(32), type: 3, place: null, reason: 'missing' } as const
  await database.call('damage.enter', { tenant: acme.id, nowMs: 5, records: [manifest] })
  expect(await whole()).toBe(0)
})
