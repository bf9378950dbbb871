// The maintenance of a gateway: one long work for each tenant at a time, and damage attributed in the background, also after a restart.
import { expect, test } from 'vitest'
import { openLog } from '../../../gateway/log.ts'
import { Maintenance } from '../../../gateway/maintenance/maintenance.ts'
import type { MaintenanceProgress } from '../../../protocol/maintenance.ts'
import type { ServedCall } from '../../../protocol/peer.ts'
import { Damager } from '../../support/damage.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Stand } from '../chains/script.ts'
import { randomDisk } from './stand.ts'

const ALL = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }

const open = ({ datastore }: Stand): Maintenance =>
  new Maintenance({ datastore, clock: new HandClock(1000), log: openLog({ level: 'silent' }) })

const callOf = (told: MaintenanceProgress[] = []): ServedCall<'store.verify'> => {
  const call = {
    signal: new AbortController().signal,
    send: async (message: MaintenanceProgress) => void told.push(message),
  }
  return call as unknown as ServedCall<'store.verify'>
}

const lostCount = async ({ datastore, tenant }: Stand): Promise<number> =>
  (await datastore.database.call('lost.list', { tenant: tenant.id, point: null, disk: null, limit: 1 })).lostCount

test('a tenant has one long work at a time, which tells how far it is; an end stops it', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('db1'), randomDisk(100))
  await using maintenance = open(stand)
  const told: MaintenanceProgress[] = []
  const first = maintenance.run('store.verify', stand.tenant, ALL, callOf(told))
  expect(await codeOf(maintenance.run('store.verify', stand.tenant, ALL, callOf()))).toBe('MAINTENANCE_RUNNING')
  expect(await first).toMatchObject({ points: 1, good: 1 })
  expect(told.length).toBeGreaterThan(0)
  const stopped = maintenance.run('store.verify', stand.tenant, ALL, callOf())
  await Promise.all([maintenance[Symbol.asyncDispose](), expect(stopped).rejects.toMatchObject({ code: 'GOING_AWAY' })])
})

test('damage that a read meets is attributed by itself, and what a crash left unattributed at the next start', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const plains = randomDisk(70)
  await stand.point(await stand.machine('db1'), plains)
  {
    await using maintenance = open(stand)
    const store = stand.datastore.tenantStore(stand.tenant)
    await damager.flip(damager.chunkId(plains[3]!))
    expect((await store.prove([damager.chunkId(plains[3]!)], new Uint8Array(32)))[0]).toBeNull()
    await store.quarantine.attributed()
    expect(await lostCount(stand)).toBe(1)
    await maintenance.attributeKnown()
  }
  const damage = {
    id: damager.chunkId(plains[9]!),
    type: 1,
    place: damager.place(damager.chunkId(plains[9]!)),
    reason: 'x',
  } as const
  const args = { tenant: stand.tenant.id, nowMs: 1, records: [damage] }
  await stand.datastore.database.call('damage.enter', args)
  expect(await lostCount(stand)).toBe(1)
  await using maintenance = open(stand)
  await maintenance.attributeKnown()
  await stand.datastore.tenantStore(stand.tenant).quarantine.attributed()
  expect(await lostCount(stand)).toBe(2)
})
