// Drills in the catalog: kept with their points within bounds, told as a condition, and gone with the points.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { DRILLS_TENANT_BYTES_MAX, DRILLS_TENANT_MAX, type NewDrill } from '../../../../gateway/catalog/drills.ts'
import { DRILL_PICTURE_BYTES_MAX, DRILLS_KEPT_MAX } from '../../../../protocol/limits.ts'
import { drillOutcome, drillPicture, FAILED } from '../../../support/drill.ts'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'

const made = async () => {
  const authority = await testAuthority()
  const { catalog, acme, other } = authority
  const agent = await addAgent(catalog, acme)
  const machine = await addMachine(catalog, acme, agent, 'db1')
  const point = await addPoint(catalog, acme, machine)
  const add = async (rest: Partial<NewDrill> = {}): Promise<string> => {
    const id = randomUUID()
    const about = { tenant: acme.id, point, subject: 'ann', log: 'login: ', picture: drillPicture(), nowMs: 1000 }
    await catalog.drills.add({ id, ...about, outcome: drillOutcome(), ...rest })
    return id
  }
  const list = (rest: object = {}) =>
    catalog.drills.list({ tenant: acme.id, agent: null, machine: null, point: null, before: null, limit: 250, ...rest })
  const conditions = async () =>
    (await catalog.conditions.of({ tenant: acme.id, kind: 'drill.failed' })).map(({ key, machine: of }) => [key, of])
  const remove = (...points: string[]) =>
    catalog.points.remove({
      tenant: acme.id,
      points,
      named: true,
      nowMs: 5000,
      by: { subject: 'ann', role: 'owner' as const },
    })
  return {
    authority,
    catalog,
    acme,
    other,
    agent,
    machine,
    point,
    add,
    list,
    conditions,
    remove,
    [Symbol.asyncDispose]: () => authority[Symbol.asyncDispose](),
  }
}

test('one is listed without and given with its log and picture, and told once', async () => {
  await using at = await made()
  const { catalog, acme, point } = at
  const id = randomUUID()
  const about = { id, tenant: acme.id, point, subject: 'ann', log: 'login: ', picture: drillPicture(), nowMs: 1000 }
  const drill = { ...about, outcome: drillOutcome() }
  expect(await catalog.drills.add(drill)).toBe(true)
  expect(await catalog.drills.add({ ...drill, nowMs: 2000 })).toBe(false)
  const [row, ...more] = await at.list()
  expect(more).toEqual([])
  expect(row).toEqual({
    id,
    seq: 1,
    point,
    machine: 'db1',
    timeMs: 100,
    by: 'ann',
    addedMs: 1000,
    pictureBytes: drillPicture().length,
    logChars: 7,
    ...drillOutcome(),
  })
  const found = await catalog.drills.get({ tenant: acme.id, agent: null, id })
  expect(found).toMatchObject({ drill: { id, point }, log: 'login: ' })
  expect(new Uint8Array(found.picture!)).toEqual(drillPicture())
  const listed = await catalog.points.list({ tenant: acme.id, agent: null, machine: null, before: null, limit: 9 })
  expect(listed.points[0]!.drill).toEqual({ id, verdict: 'passed', addedMs: 1000 })
})

test('neither another tenant nor another agent sees it, and what is not there has none', async () => {
  await using at = await made()
  const { catalog, acme, other, agent } = at
  const id = await at.add()
  const stranger = await addAgent(catalog, acme, 'h2')
  const get = (rest: object) => codeOf(catalog.drills.get({ tenant: acme.id, agent: null, id, ...rest }))
  expect([await get({ tenant: other.id }), await get({ agent: stranger })]).toEqual(['NOT_FOUND', 'NOT_FOUND'])
  expect(await at.list({ agent: stranger })).toEqual([])
  expect(await at.list({ agent, machine: 'db1' })).toHaveLength(1)
  expect(await at.list({ machine: 'db2' })).toEqual([])
  expect(await codeOf(at.add({ point: randomUUID() }))).toBe('NOT_FOUND')
  expect(await codeOf(at.add({ tenant: other.id }))).toBe('NOT_FOUND')
  const elsewhere = await addPoint(catalog, acme, at.machine)
  expect(await codeOf(at.add({ id, point: elsewhere }))).toBe('EXISTS')
})

test('the newest of a point are kept, in the order in which they came, whatever the clock says', async () => {
  await using at = await made()
  const ids: string[] = []
  for (let count = 0; count < DRILLS_KEPT_MAX + 2; count++) ids.push(await at.add({ nowMs: 9000 - count }))
  const kept = ids.slice(-DRILLS_KEPT_MAX).toReversed()
  expect((await at.list()).map(({ id }) => id)).toEqual(kept)
  const [, second] = await at.list()
  expect((await at.list({ before: second!.seq })).map(({ id }) => id)).toEqual(kept.slice(2))
})

test('a tenant has so many drills, and so many bytes of pictures', async () => {
  await using at = await made()
  const { catalog, acme, machine } = at
  const picture = drillPicture(DRILL_PICTURE_BYTES_MAX - drillPicture().length)
  const most = Math.floor(DRILLS_TENANT_BYTES_MAX / (picture.length + 7))
  const points = []
  for (let count = 0; count <= most / DRILLS_KEPT_MAX; count++) points.push(await addPoint(catalog, acme, machine))
  for (let count = 0; count < most + 2; count++)
    await at.add({ point: points[Math.floor(count / DRILLS_KEPT_MAX)]!, picture })
  const rows = await at.list()
  expect(rows).toHaveLength(most + 2)
  expect(rows.filter(({ pictureBytes }) => pictureBytes !== null)).toHaveLength(most)
  expect(rows.slice(-2).map(({ pictureBytes, logChars }) => [pictureBytes, logChars])).toEqual([
    [null, 0],
    [null, 0],
  ])
  expect(DRILLS_TENANT_MAX).toBeGreaterThan(most)
})

test('a machine whose last drill failed is told until one passes, or its points are gone', async () => {
  await using at = await made()
  const { catalog, acme, machine, point } = at
  await at.add()
  expect(await at.conditions()).toEqual([])
  await at.add({ outcome: drillOutcome(FAILED) })
  await at.add({ outcome: drillOutcome(FAILED) })
  expect(await at.conditions()).toEqual([['drill.failed db1', 'db1']])
  await at.add()
  expect(await at.conditions()).toEqual([])
  const other = await addPoint(catalog, acme, machine)
  await at.add({ point: other, outcome: drillOutcome(FAILED) })
  await at.remove(other)
  expect(await at.conditions()).toHaveLength(1)
  await at.remove(point)
  expect([await at.conditions(), await at.list()]).toEqual([[], []])
  const told = (await catalog.events.after({ seq: 0, limit: 1000 })).filter(({ kind }) => kind === 'drill.failed')
  expect(told.map(({ active }) => active)).toEqual([true, false, true, false])
})
