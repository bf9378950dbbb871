// The maintenance of a gateway: what runs beside what and waits for what, notices of progress, and damage attributed in the
// background, also after a restart.
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { openLog } from '../../../protocol/host/log.ts'
import { Maintenance, WORK_RUNNING_MAX } from '../../../gateway/maintenance/maintenance.ts'
import type { MaintenanceProgress } from '../../../protocol/maintenance.ts'
import type { ServedCall } from '../../../protocol/peer.ts'
import { Damager } from '../../support/damage.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Stand } from '../chains/script.ts'
import { addTenant } from '../datastore/fixture.ts'
import { changed, randomDisk, removePoints } from './stand.ts'

const ALL = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }

const open = ({ datastore }: Stand): Maintenance =>
  new Maintenance({ datastore, clock: new HandClock(1000), log: openLog({ level: 'silent' }) })

const callOf = <N extends 'store.verify' | 'store.usage' | 'store.collect'>(
  told: MaintenanceProgress[] = [],
  signal: AbortSignal = new AbortController().signal,
): ServedCall<N> => {
  const call = { signal, send: async (message: MaintenanceProgress) => void told.push(message) }
  return call as unknown as ServedCall<N>
}

const lostCount = async ({ datastore, tenant }: Stand): Promise<number> =>
  (await datastore.catalog.lost.list({ tenant: tenant.id, point: null, disk: null, limit: 1 })).lostCount

test('a tenant has one long work at a time, which tells how far it is; an end stops it', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('db1'), randomDisk(100))
  await using maintenance = open(stand)
  const told: MaintenanceProgress[] = []
  const first = maintenance.run('store.verify', stand.tenant, ALL, callOf(told))
  expect(await codeOf(maintenance.run('store.verify', stand.tenant, ALL, callOf()))).toBe('MAINTENANCE_RUNNING')
  await expect(maintenance.run('store.verify', stand.tenant, ALL, callOf())).rejects.toThrow(
    /^a verification \("verify"\)/u,
  )
  expect(await first).toMatchObject({ points: 1, good: 1 })
  expect(told.length).toBeGreaterThan(0)
  const stopped = maintenance.run('store.verify', stand.tenant, ALL, callOf())
  await Promise.all([maintenance[Symbol.asyncDispose](), expect(stopped).rejects.toMatchObject({ code: 'GOING_AWAY' })])
})

interface Watched extends AsyncDisposable {
  readonly maintenance: Maintenance
  readonly clock: HandClock
  /** What began and ended, as the log has it. */
  readonly events: string[]
}

const watch = ({ datastore }: Stand): Watched => {
  const events: string[] = []
  const write = (line: string): void => {
    const { work, tenant, msg } = JSON.parse(line) as { work?: string; tenant: string; msg: string }
    if (work !== undefined) events.push(`${tenant} ${work} ${msg.split(' ').at(-1)}`)
  }
  const clock = new HandClock(1000)
  const maintenance = new Maintenance({ datastore, clock, log: pino({}, { write }) })
  return { maintenance, clock, events, [Symbol.asyncDispose]: () => maintenance[Symbol.asyncDispose]() }
}

/** Resolves once what was asked for has its slot, and before anything of it can have come back from a thread. */
const slotsTaken = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
}

const SLOW = { ...ALL, bytesPerSecond: 1024 * 1024 }
const USAGE = { machine: null, points: false }
const COLLECT = { dryRun: false, thresholdPercent: 100, bytesPerSecond: null }

test('an accounting and other work do not keep each other out, and one of a kind runs at a time', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('db1'), randomDisk(300))
  await using watched = watch(stand)
  const { maintenance, clock } = watched
  const { tenant } = stand
  // held by its rate, as the clock stands still
  const verified = maintenance.run('store.verify', tenant, SLOW, callOf())
  const counted = maintenance.run('store.usage', tenant, USAGE, callOf())
  expect(await codeOf(maintenance.run('store.usage', tenant, USAGE, callOf()))).toBe('MAINTENANCE_RUNNING')
  expect(await codeOf(maintenance.run('store.collect', tenant, COLLECT, callOf()))).toBe('MAINTENANCE_RUNNING')
  expect(await counted).toMatchObject({ rows: [{ points: 1 }, {}, {}] })
  expect(watched.events).toEqual(['acme store.verify begins', 'acme store.usage begins', 'acme store.usage ends'])
  await eventually(() => clock.waiting > 0)
  clock.advance(60_000)
  expect(await verified).toMatchObject({ good: 1 })
})

test('a collection and an accounting wait for each other in the order in which they come', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const disk = randomDisk(100)
  const first = await stand.point(machine, disk)
  await stand.point(machine, changed(disk, 3))
  removePoints(stand, first.id)
  await using watched = watch(stand)
  const { maintenance, events } = watched
  const { tenant } = stand
  const collected = maintenance.run('store.collect', tenant, COLLECT, callOf())
  const counted = maintenance.run('store.usage', tenant, USAGE, callOf())
  await slotsTaken()
  expect(events).toEqual(['acme store.collect begins'])
  expect(await collected).toMatchObject({ points: 1 })
  // waits behind the accounting though it had waited itself
  const again = maintenance.run('store.collect', tenant, COLLECT, callOf())
  expect(await counted).toMatchObject({ deadBytes: 0 })
  await again
  expect(events).toEqual(
    ['collect', 'usage', 'collect'].flatMap((work) => [`acme store.${work} begins`, `acme store.${work} ends`]),
  )
})

test('who waits for the other work and goes, goes at once', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('db1'), randomDisk(10))
  await using watched = watch(stand)
  const { maintenance, events } = watched
  const { tenant } = stand
  const counted = maintenance.run('store.usage', tenant, USAGE, callOf())
  const gone = new AbortController()
  const collecting = maintenance.run('store.collect', tenant, COLLECT, callOf([], gone.signal))
  const reason = new Error('gone')
  gone.abort(reason)
  await expect(collecting).rejects.toBe(reason)
  await counted
  expect(events).toEqual(['acme store.usage begins', 'acme store.usage ends'])
  await maintenance.run('store.collect', tenant, COLLECT, callOf())
})

test('over all tenants a few run at once, the others in order; one that goes leaves the queue', async () => {
  await using stand = await Stand.open()
  const names = Array.from({ length: WORK_RUNNING_MAX + 3 }, (_, index) => `t${index}`)
  const tenants = await Promise.all(names.map((name) => addTenant(stand.datastore, name)))
  await using watched = watch(stand)
  const { maintenance, events } = watched
  const gone = new AbortController()
  const leaver = WORK_RUNNING_MAX + 1
  const running = tenants.map((tenant, index) =>
    maintenance.run('store.verify', tenant, ALL, callOf([], index === leaver ? gone.signal : undefined)),
  )
  const results = Promise.allSettled(running)
  await slotsTaken()
  expect(events).toEqual(names.slice(0, WORK_RUNNING_MAX).map((name) => `${name} store.verify begins`))
  gone.abort(new Error('gone'))
  expect((await results).map(({ status }) => status)).toEqual(
    names.map((_, index) => (index === leaver ? 'rejected' : 'fulfilled')),
  )
  const began = events.filter((event) => event.endsWith('begins')).map((event) => event.split(' ')[0])
  expect(began).toEqual(names.toSpliced(leaver, 1))
  let atOnce = 0
  for (const event of events) {
    atOnce += event.endsWith('begins') ? 1 : -1
    expect(atOnce).toBeLessThanOrEqual(WORK_RUNNING_MAX)
  }
  // stopped while it waits
  const held = tenants.map((tenant) => maintenance.run('store.verify', tenant, ALL, callOf()))
  const stopped = Promise.allSettled(held)
  await maintenance[Symbol.asyncDispose]()
  expect((await stopped).at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'GOING_AWAY' } })
})

test('notices of progress do not pile up for who does not read them', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  for (let round = 0; round < 4; round++) await stand.point(machine, randomDisk(20))
  let nowMs = 0
  // every look at it is a second later, so that no notice is left out for having come too soon
  const clock = { now: () => 0, elapsed: () => (nowMs += 1000), after: () => () => {} }
  await using maintenance = new Maintenance({ datastore: stand.datastore, clock, log: openLog({ level: 'silent' }) })
  const noticesOf = async (taken: () => Promise<void>): Promise<number> => {
    let count = 0
    const send = (): Promise<void> => {
      count++
      return taken()
    }
    const call = { signal: new AbortController().signal, send } as unknown as ServedCall<'store.verify'>
    await maintenance.run('store.verify', stand.tenant, ALL, call)
    return count
  }
  expect(await noticesOf(async () => {})).toBeGreaterThan(3)
  expect(await noticesOf(() => Promise.reject(new Error('not taken')))).toBeGreaterThan(3)
  expect(await noticesOf(() => new Promise(() => {}))).toBe(1)
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
  await stand.datastore.catalog.damage.enter(args)
  expect(await lostCount(stand)).toBe(1)
  await using maintenance = open(stand)
  await maintenance.attributeKnown()
  await stand.datastore.tenantStore(stand.tenant).quarantine.attributed()
  expect(await lostCount(stand)).toBe(2)
})
