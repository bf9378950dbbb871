// Forecasts over what the catalog remembers of each day, for tenants and the disk, and last proofs.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { Forecasts } from '../../../gateway/freshness/forecasts.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { drillOutcome, FAILED } from '../../support/drill.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { testAuthority } from '../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'

const TODAY = 20_000
const GIB = 2 ** 30

const clockOf = (day: number): HandClock => {
  const clock = new HandClock(1000)
  clock.set(day * DAY_MS + 5)
  return clock
}

test('a tenant by the growth of its packs, the disk by what is used of it, computed once an hour', async () => {
  await using authority = await testAuthority()
  const { catalog, acme, other } = authority
  const pack = await catalog.packs.add({ tenant: acme.id, kind: 'data', uuid: crypto.randomUUID(), nowMs: 1 })
  for (let index = 0; index < 10; index++) {
    await catalog.packs.seal({ packs: [{ id: pack, bytes: (index + 1) * GIB }] })
    await catalog.upkeep.sample({ day: TODAY - 9 + index, diskBytes: 100 * GIB + index * 2 * GIB })
  }
  await catalog.quotas.set({ tenant: acme.id, softBytes: 15 * GIB, hardBytes: 30 * GIB })
  const room = { freeBytes: 50 * GIB, totalBytes: 168 * GIB, reserveBytes: 10 * GIB }
  const space = { quotas: { usedBytes: (id: string) => (id === acme.id ? 10 * GIB : 0) }, room: async () => room }
  const clock = clockOf(TODAY)
  const forecasts = new Forecasts({ catalog, space, clock })
  expect(await forecasts.ofTenant(acme.id)).toEqual({
    usedBytes: 10 * GIB,
    softBytes: 15 * GIB,
    hardBytes: 30 * GIB,
    soft: { daysLeft: 5, bytesPerDay: GIB, reason: null },
    hard: { daysLeft: 20, bytesPerDay: GIB, reason: null },
  })
  expect(await forecasts.quotaDays(acme.id)).toBe(20)
  expect(await forecasts.ofTenant(other.id)).toMatchObject({ hard: { daysLeft: null, reason: 'limit' } })
  expect(await forecasts.ofStore()).toEqual({ ...room, daysLeft: 20, bytesPerDay: 2 * GIB, reason: null })
  expect(await forecasts.diskDays()).toBe(20)
  await catalog.quotas.set({ tenant: acme.id, hardBytes: null })
  expect(await forecasts.quotaDays(acme.id)).toBe(5)
  // the last day is written again; an hour later it counts
  await catalog.upkeep.sample({ day: TODAY, diskBytes: 0 })
  expect((await forecasts.ofStore()).bytesPerDay).toBe(2 * GIB)
  clock.advance(3_600_000)
  expect((await forecasts.ofStore()).bytesPerDay).not.toBeNull()
})

test('proofs are the newest and the oldest look at points, how many were never looked at, and the last drill that passed', async () => {
  await using authority = await testAuthority()
  const { catalog, acme } = authority
  const nothing = { verifiedMs: null, oldestMs: null, unverified: 0, drilledMs: null }
  const proof = () => catalog.upkeep.proof({ tenant: acme.id })
  expect(await proof()).toEqual(nothing)
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'a')
  const points = [await addPoint(catalog, acme, machine), await addPoint(catalog, acme, machine)]
  await catalog.points.verified({ tenant: acme.id, points: [points[0]!], nowMs: 500 })
  expect(await proof()).toEqual({ ...nothing, verifiedMs: 500, unverified: 1 })
  await catalog.points.verified({ tenant: acme.id, points: [points[1]!], nowMs: 900 })
  expect(await proof()).toEqual({ ...nothing, verifiedMs: 900, oldestMs: 500 })
  const drill = { tenant: acme.id, point: points[0]!, subject: 'ann', log: '', picture: null }
  await catalog.drills.add({ ...drill, id: randomUUID(), outcome: drillOutcome(), nowMs: 1000 })
  await catalog.drills.add({ ...drill, id: randomUUID(), outcome: drillOutcome(FAILED), nowMs: 1100 })
  expect(await proof()).toMatchObject({ drilledMs: 1000 })
})
