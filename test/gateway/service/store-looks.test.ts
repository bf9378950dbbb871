// Growth, proofs and damage over sessions: a tenant sees its own, the platform the disk.
import { expect, test } from 'vitest'
import { RECORD } from '../../../gateway/packs/format.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'
import { TestServices } from '../services.ts'

const DAY_MS = 24 * 3_600_000
const MIB = 2 ** 20

test('growth is what each day’s sample says, without days that are still to come; the platform is told of the disk', async () => {
  await using test = await TestServices.open()
  const { catalog } = test.services.datastore
  const today = Math.floor(test.clock.now() / DAY_MS)
  const pack = await catalog.packs.add({ tenant: test.acme.id, kind: 'data', uuid: crypto.randomUUID(), nowMs: 1 })
  for (let ago = 9; ago >= -1; ago--) {
    await catalog.packs.seal({ packs: [{ id: pack, bytes: (10 - ago) * MIB }] })
    await catalog.upkeep.sample({ day: today - ago, diskBytes: 1000 - ago })
  }
  const viewer = await test.person('viewer')
  const grown = await viewer.call('store.growth', { days: 3 })
  expect(grown).toMatchObject({
    today,
    quota: { hardBytes: null, hard: { bytesPerDay: MIB, reason: 'limit' } },
    disk: null,
  })
  expect(grown.samples).toEqual([2, 1, 0].map((ago) => ({ day: today - ago, bytes: (10 - ago) * MIB })))
  expect((await viewer.call('store.growth', {})).samples).toHaveLength(10)
  const platform = await (await test.person('platform')).call('store.growth', { days: 1 })
  expect(platform).toMatchObject({ samples: [{ day: today, bytes: 1000 }], quota: null })
  expect(platform.disk!.totalBytes).toBeGreaterThan(0)
  const other = await (await test.person('viewer', test.other)).call('store.growth', { days: 1 })
  expect(other.samples).toEqual([{ day: today, bytes: 0 }])
})

test('proofs come machine by machine, the one that was looked at longest ago first', async () => {
  await using test = await TestServices.open()
  const { catalog } = test.services.datastore
  const agent = await addAgent(catalog, test.acme)
  for (const [name, timeMs] of [
    ['a', 300],
    ['b', 200],
  ] as const)
    await addPoint(catalog, test.acme, await addMachine(catalog, test.acme, agent, name), { timeMs, nowMs: timeMs })
  const viewer = await test.person('viewer')
  const proof = await viewer.call('store.proof', {})
  expect(proof).toMatchObject({ verifiedMs: null, unverified: 2, machineCount: 2 })
  expect(proof.machines.map(({ machine, points }) => [machine, points])).toEqual([
    ['b', 1],
    ['a', 1],
  ])
  const one = await viewer.call('store.proof', { limit: 1 })
  expect([one.machines.length, one.machineCount]).toEqual([1, 2])
  expect((await (await test.person('viewer', test.other)).call('store.proof', {})).machines).toEqual([])
})

test('damage has its records page by page, and the ranges of points that it touches', async () => {
  await using test = await TestServices.open()
  const { catalog } = test.services.datastore
  const machine = await addMachine(catalog, test.acme, await addAgent(catalog, test.acme), 'db1')
  const point = await addPoint(catalog, test.acme, machine, { size: 10 * MIB })
  const viewer = await test.person('viewer')
  const nothing = { records: [], next: null, lost: [], lostCount: 0, lostBytes: 0 }
  expect(await viewer.call('store.damage', {})).toEqual(nothing)
  const ids = [1, 2, 3].map((byte) => new Uint8Array(32).fill(byte))
  const records = ids.map((id) => ({ id, type: RECORD.chunk, place: null, reason: 'it is gone' }))
  await catalog.damage.enter({ tenant: test.acme.id, nowMs: 5, records })
  const rows = ids.map((id, index) => ({ point, disk: 'vda', offset: index * 2 * MIB, length: MIB, id }))
  await catalog.lost.stage({ tenant: test.acme.id, first: true, rows })
  await catalog.lost.replace({ tenant: test.acme.id })
  const first = await viewer.call('store.damage', { limit: 2 })
  expect(first).toMatchObject({ lostCount: 3, lostBytes: 3 * MIB })
  expect(first.lost.map(({ machine: of, disk, offset, length }) => [of, disk, offset, length])).toEqual(
    [0, 2, 4].map((mib) => ['db1', 'vda', mib * MIB, MIB]),
  )
  const second = await viewer.call('store.damage', { limit: 2, after: first.next })
  expect([...first.records, ...second.records].map(({ id }) => id)).toEqual(
    ['01', '02', '03'].map((byte) => byte.repeat(32)),
  )
  expect(second.next).toBe(null)
  expect(await codeOf(viewer.call('points.lost', { point, after: first.next }))).toBe('PARAMS_INVALID')
  expect(await (await test.person('viewer', test.other)).call('store.damage', {})).toEqual(nothing)
})
