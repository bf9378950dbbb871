// Upkeep as it is done: claimed by one gateway, its lease prolonged, taken over from a dead one, and due again where it was cut
// short. A real catalog, a clock that stands still.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import type { RunRow } from '../../../gateway/catalog/runs.ts'
import { LEASE_MS } from '../../../gateway/scheduler/limits.ts'
import type { Work, WorkEnd } from '../../../gateway/scheduler/work.ts'
import { planWorks, Works } from '../../../gateway/scheduler/works.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { openLog } from '../../../protocol/host/log.ts'

const log = openLog({ level: 'silent' })

/** A catalog with a tenant and runs of upkeep, and gateways beside it. */
const stand = async (count = 1) => {
  await using stack = new AsyncDisposableStack()
  const temp = stack.use(await tempFolder())
  const catalog = stack.use(openLocal(temp.join('catalog.db')))
  const tenant = randomUUID()
  await catalog.tenants.add({ id: tenant, name: 'acme', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 })
  const runs = Array.from({ length: count }, (_, index) => ({
    id: randomUUID(),
    tenant,
    kind: 'prune' as const,
    machine: null,
    plan: null,
    dueMs: 1000 + index,
  }))
  await catalog.runs.plan({ runs })
  const clock = new HandClock(2000)
  const held = stack.move()
  const gateway = (run: Work['run']): Works => {
    const work: Work = { kind: 'prune', run }
    return held.use(new Works({ catalog, works: [work], onEnd: () => {}, clock, log }))
  }
  const rows = (): Promise<RunRow[]> =>
    catalog.runs.list({ tenant, machine: null, kind: null, state: null, after: null, limit: 10 })
  return { catalog, tenant, clock, gateway, rows, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

/** A work that lasts until it is told to end, or is ended. */
const lasting = () => {
  const { promise, resolve } = Promise.withResolvers<WorkEnd>()
  const signals: AbortSignal[] = []
  const run: Work['run'] = (_, signal) => {
    signals.push(signal)
    const aborted = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    })
    return Promise.race([promise, aborted])
  }
  return { run, end: resolve, signals }
}

test('is done once, for its tenant, and says what it did', async () => {
  await using one = await stand()
  const names: (string | null)[] = []
  const works = one.gateway(async (tenant) => {
    names.push(tenant?.name ?? null)
    return { summary: 'removed 3 restore points' }
  })
  const [run] = await one.catalog.runs.open()
  expect([await works.claim(run!), await works.claim(run!)]).toEqual([true, false])
  await works.settled()
  expect(names).toEqual(['acme'])
  expect(await one.rows()).toMatchObject([
    { state: 'done', summary: 'removed 3 restore points', attempts: 1, owner: null },
  ])
})

test('nothing to do is a reason, and a failure is tried again where that can help', async () => {
  await using one = await stand(4)
  const ends: (() => WorkEnd)[] = [
    () => ({ skipped: 'nothing' }),
    () => {
      throw new VarveError('STORE_FULL', 'no room')
    },
    () => {
      throw new VarveError('CATALOG_DAMAGED', 'torn')
    },
    () => {
      throw new VarveError('MAINTENANCE_RUNNING', 'busy')
    },
  ]
  const works = one.gateway(async () => ends.shift()!())
  for (const run of await one.catalog.runs.open()) {
    await works.claim(run)
    await works.settled()
  }
  expect((await one.rows()).toReversed()).toMatchObject([
    { state: 'skipped', skipped: 'nothing' },
    { state: 'due', attempts: 1, nextMs: 62_000, error: { code: 'STORE_FULL' } },
    { state: 'failed', error: { code: 'CATALOG_DAMAGED' } },
    // another one is in the way: that costs no try
    { state: 'due', attempts: 0, error: { code: 'MAINTENANCE_RUNNING' } },
  ])
})

test('its lease is prolonged while it lasts; a dead gateway loses it, and its work is ended when it is seen', async () => {
  await using one = await stand()
  const [first, second] = [lasting(), lasting()]
  const [dead, heir] = [one.gateway(first.run), one.gateway(second.run)]
  const [run] = await one.catalog.runs.open()
  await dead.claim(run!)
  const leaseMs = async () => (await one.rows())[0]!.leaseMs
  expect(await leaseMs()).toBe(2000 + LEASE_MS)
  await one.clock.advanceSettled(LEASE_MS / 3)
  expect(await leaseMs()).toBe(2000 + LEASE_MS / 3 + LEASE_MS)
  expect(await heir.claim(run!)).toBe(false)
  // it is suspended for an hour: by the time of day its lease has run out, and nothing was prolonged
  one.clock.set(one.clock.now() + 3_600_000)
  expect(await heir.claim(run!)).toBe(true)
  await one.clock.advanceSettled(LEASE_MS / 3)
  await dead.settled()
  expect(first.signals[0]!.reason).toMatchObject({ code: 'LEASE_LOST' })
  expect(await one.rows()).toMatchObject([{ state: 'running', attempts: 2 }])
  second.end({ summary: 'done by the heir' })
  await heir.settled()
  expect(await one.rows()).toMatchObject([{ state: 'done', summary: 'done by the heir' }])
})

test('a gateway that stops ends its work, which is due again at once', async () => {
  await using one = await stand()
  const work = lasting()
  const works = one.gateway(work.run)
  const [run] = await one.catalog.runs.open()
  await works.claim(run!)
  await eventually(() => work.signals.length === 1)
  await works[Symbol.asyncDispose]()
  expect(await one.rows()).toMatchObject([{ state: 'due', attempts: 0, nextMs: null, error: { code: 'GOING_AWAY' } }])
  expect(await works.claim(run!)).toBe(false)
})

test('one of a tenant and two of a gateway at once; backups that wait go first, for a day', async () => {
  await using one = await stand(2)
  const runs = await one.catalog.runs.open()
  const of = (tenant: string): RunRow => ({ ...runs[0]!, id: randomUUID(), tenant })
  const plan = (rows: readonly RunRow[], nowMs: number, held = false) =>
    planWorks(rows, { nowMs, own: new Set(), kinds: new Set(['prune']), held })
  expect(plan(runs, 2000).claims.map(({ id }) => id)).toEqual([runs[0]!.id])
  expect(plan([of('a'), of('b'), of('c')], 2000).claims).toHaveLength(2)
  const running: RunRow = { ...of('a'), state: 'running', owner: 'x', leaseMs: 2000 + LEASE_MS }
  expect(plan([running, of('a'), of('b'), of('c')], 2000).claims.map(({ tenant }) => tenant)).toEqual(['b'])
  expect(plan(runs, 2000, true).claims).toEqual([])
  expect(plan(runs, 1001 + 24 * 3_600_000, true).claims).toHaveLength(1)
  expect(planWorks(runs, { nowMs: 2000, own: new Set(), kinds: new Set(['verify']), held: false }).claims).toEqual([])
})

test('what died with its gateways too often has failed, and what a person waited for too', () => {
  const run = {
    kind: 'prune',
    state: 'running',
    owner: 'x',
    leaseMs: 1000,
    attempts: 5,
    by: null,
    tenant: 'a',
    nextMs: null,
  }
  const plan = (rest: object) =>
    planWorks([{ ...run, ...rest } as RunRow], { nowMs: 2000, own: new Set(), kinds: new Set(['prune']), held: false })
  expect(plan({}).ends).toMatchObject([{ state: 'failed', error: { code: 'LEASE_LOST' } }])
  expect(plan({ attempts: 1, by: 'ann' }).ends).toMatchObject([{ state: 'failed' }])
  expect(plan({ attempts: 1 }).claims).toHaveLength(1)
})
