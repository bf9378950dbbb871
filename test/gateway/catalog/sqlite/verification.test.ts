// Which points are to be verified and in which order, where their trees begin, and what stays of it.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'

test('points never verified come first, then those verified longest ago; machine, point and age narrow', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const agent = await addAgent(catalog, acme)
  const a = await addMachine(catalog, acme, agent, 'a')
  const b = await addMachine(catalog, acme, agent, 'b')
  const points: string[] = []
  for (let index = 0; index < 4; index++)
    points.push(await addPoint(catalog, acme, index < 3 ? a : b, { timeMs: index }))
  const all = { tenant: acme.id, point: null, machine: null, age: null }
  const verified = (point: string, nowMs: number) =>
    catalog.points.verified({ tenant: acme.id, points: [point], nowMs })
  await verified(points[0]!, 50)
  await verified(points[2]!, 40)
  expect(await catalog.points.toVerify(all)).toEqual([points[3], points[1], points[2], points[0]])
  expect(await catalog.points.toVerify({ ...all, age: { beforeMs: 50, nowMs: 1000 } })).toEqual([
    points[3],
    points[1],
    points[2],
  ])
  // a look that is later than now was dated by a clock that was ahead
  const set = { beforeMs: 30, nowMs: 45 }
  expect(await catalog.points.toVerify({ ...all, age: set })).toEqual([points[3], points[1], points[0]])
  expect(await catalog.points.toVerify({ ...all, machine: 'b' })).toEqual([points[3]])
  expect(await catalog.points.toVerify({ ...all, point: points[0]! })).toEqual([points[0]])
  expect(await catalog.points.toVerify({ ...all, tenant: other.id })).toEqual([])
})

test('a point’s trees begin where its images say, for its tenant alone', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const root = new Uint8Array(32).fill(3)
  const point = await addPoint(catalog, acme, machine, { size: 8192, root })
  expect(await catalog.points.roots({ tenant: acme.id, point })).toEqual({
    id: point,
    manifest: new Uint8Array(32),
    images: [{ disk: 'vda', size: 8192, root }],
  })
  expect(await catalog.points.roots({ tenant: other.id, point })).toBeNull()
  expect(await catalog.points.roots({ tenant: acme.id, point: randomUUID() })).toBeNull()
  const pack = await catalog.packs.add({ tenant: acme.id, kind: 'data', uuid: randomUUID(), nowMs: 1 })
  await catalog.packs.seal({ packs: [{ id: pack, bytes: 700 }] })
  expect(await catalog.packs.tenantBytes({ tenant: acme.id })).toBe(700)
  expect(await catalog.packs.tenantBytes({ tenant: other.id })).toBe(0)
})

test('a damaged manifest leaves no point whole', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const point = await addPoint(catalog, acme, machine)
  const whole = () => catalog.points.whole({ tenant: acme.id, points: [point] })
  expect(await whole()).toBe(1)
  const manifest = { id: new Uint8Array(32), type: 3, place: null, reason: 'missing' } as const
  await catalog.damage.enter({ tenant: acme.id, nowMs: 5, records: [manifest] })
  expect(await whole()).toBe(0)
})
