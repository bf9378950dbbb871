// What upkeep remembers, what points carry of removed ones, samples by day, and what is verified when.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Catalog } from '../../../../gateway/catalog/catalog.ts'
import { SAMPLE_DAYS_MAX } from '../../../../gateway/catalog/upkeep.ts'
import { testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint, startJob } from '../../catalog.ts'
import { Stand } from '../../chains/script.ts'
import { changed, randomDisk } from '../../maintenance/stand.ts'

const factsOf = async (catalog: Catalog, tenant: string) =>
  (await catalog.upkeep.facts()).tenants.find((one) => one.tenant === tenant)!

test('a kind’s note is when it ended, well or not, and what it remembers', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const note = (ok: boolean, nowMs: number, text: string | null, tenant: string | null = acme.id) =>
    catalog.upkeep.note({ tenant, kind: 'collect', nowMs, ok, note: text })
  await note(false, 10, null)
  await note(false, 20, null)
  expect((await factsOf(catalog, acme.id)).notes).toEqual([
    { kind: 'collect', triedMs: 20, doneMs: null, failures: 2, note: '{}' },
  ])
  await note(true, 30, '{"a":1}')
  await note(false, 40, null)
  expect((await factsOf(catalog, acme.id)).notes).toEqual([
    { kind: 'collect', triedMs: 40, doneMs: 30, failures: 1, note: '{"a":1}' },
  ])
  expect((await factsOf(catalog, other.id)).notes).toEqual([])
  await note(true, 50, null, null)
  expect((await catalog.upkeep.facts()).platform).toMatchObject([{ kind: 'collect', doneMs: 50 }])
})

test('facts are those of each tenant: points, backups that run, packs, the tighter quota', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  await addPoint(catalog, acme, machine)
  await startJob(catalog, acme, machine)
  await catalog.quotas.set({ tenant: acme.id, hardBytes: 900 })
  const pack = await catalog.packs.add({ tenant: acme.id, kind: 'data', uuid: randomUUID(), nowMs: 1 })
  await catalog.packs.seal({ packs: [{ id: pack, bytes: 700 }] })
  const acmes = { points: 1, newestSeq: 1, removed: 0, packBytes: 700, keptBytes: 0, backups: 1, quotaBytes: 900 }
  expect(await factsOf(catalog, acme.id)).toMatchObject(acmes)
  const others = { points: 0, newestSeq: 0, packBytes: 0, backups: 0, quotaBytes: null }
  expect(await factsOf(catalog, other.id)).toMatchObject(others)
  expect(await catalog.upkeep.backups()).toBe(1)
  await catalog.quotas.set({ tenant: acme.id, softBytes: 800 })
  expect((await factsOf(catalog, acme.id)).quotaBytes).toBe(800)
})

test('what the next point has not overwritten of a removed one, it carries; the last one takes all with it', async () => {
  await using stand = await Stand.open()
  const { catalog } = stand.datastore
  const machine = await stand.machine('a')
  let disk = randomDisk(40)
  const points: string[] = []
  for (let day = 0; day < 4; day++) {
    if (day > 0) disk = changed(disk, ...Array.from({ length: 5 }, (_, index) => index + day)) as Uint8Array[]
    points.push((await stand.point(machine, disk, 100 + day)).id)
  }
  const kept = async (): Promise<number> => (await factsOf(catalog, stand.tenant.id)).keptBytes
  const stored = await Promise.all(
    points.map(
      async (id) => (await catalog.points.find({ tenant: stand.tenant.id, agent: null, prefix: id })).bytesStored,
    ),
  )
  const remove = (...ids: string[]) =>
    catalog.points.remove({
      tenant: stand.tenant.id,
      points: ids,
      named: true,
      nowMs: 1e12,
      by: { subject: 'test', role: 'owner' },
    })
  const all = stored.reduce((sum, bytes) => sum + bytes, 0)
  expect(await kept()).toBe(all)
  await remove(points[0]!)
  expect(await kept()).toBe(all - stored[1]!)
  await remove(points[2]!)
  expect(await kept()).toBe(all - stored[1]! - Math.min(stored[2]!, stored[3]!))
  await remove(points[1]!, points[3]!)
  expect(await kept()).toBe(0)
  expect((await factsOf(catalog, stand.tenant.id)).removed).toBe(4)
})

test('one sample a day, the last one of it; so many days are kept, whatever a clock said', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  for (const diskBytes of [5, 7]) await catalog.upkeep.sample({ day: 3, diskBytes })
  expect(await catalog.upkeep.samples({ tenant: null, fromDay: 0 })).toEqual([{ day: 3, bytes: 7 }])
  expect(await catalog.upkeep.samples({ tenant: acme.id, fromDay: 0 })).toEqual([{ day: 3, bytes: 0 }])
  await catalog.upkeep.sample({ day: 9000, diskBytes: 1 })
  for (let day = 4; day < SAMPLE_DAYS_MAX + 10; day++) await catalog.upkeep.sample({ day, diskBytes: day })
  const days = (await catalog.upkeep.samples({ tenant: null, fromDay: 0 })).map(({ day }) => day)
  expect(days).toHaveLength(SAMPLE_DAYS_MAX)
  expect([days[0], days.at(-1)]).toEqual([11, 9000])
  expect(await catalog.upkeep.samples({ tenant: null, fromDay: 9000 })).toHaveLength(1)
})

test('machines by their oldest look; one that is later than now, and one that never was, count from the commit', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const agent = await addAgent(catalog, acme)
  const [a, b] = [await addMachine(catalog, acme, agent, 'a'), await addMachine(catalog, acme, agent, 'b')]
  await addMachine(catalog, acme, agent, 'empty')
  const points = [await addPoint(catalog, acme, a, { nowMs: 50 }), await addPoint(catalog, acme, a, { nowMs: 70 })]
  points.push(await addPoint(catalog, acme, b, { nowMs: 60 }))
  const look = async (nowMs: number) =>
    (await catalog.upkeep.verifiable({ tenant: acme.id, nowMs })).map((one) => [one.machine, one.points, one.oldestMs])
  expect(await look(1000)).toEqual([
    ['a', 2, 51],
    ['b', 1, 61],
  ])
  await catalog.points.verified({ tenant: acme.id, points: [points[0]!], nowMs: 500 })
  expect(await look(1000)).toEqual([
    ['b', 1, 61],
    ['a', 2, 71],
  ])
  expect(await look(400)).toEqual([
    ['a', 2, 51],
    ['b', 1, 61],
  ])
  expect(await catalog.upkeep.verifiable({ tenant: other.id, nowMs: 1000 })).toEqual([])
})
