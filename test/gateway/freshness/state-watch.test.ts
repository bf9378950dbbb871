// Changes of machines' states are told exactly once: over looks, restarts, and whatever a machine goes through.
import { expect, test } from 'vitest'
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { openLocal, type LocalCatalog } from '../../../gateway/catalog/sqlite/database.ts'
import { Events } from '../../../gateway/events/events.ts'
import { MachineStates } from '../../../gateway/freshness/machine-states.ts'
import { UNHEARD_MS } from '../../../gateway/freshness/state.ts'
import { Freshness, LOOK_MS, SOON_MS } from '../../../gateway/freshness/state-watch.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { PLAN_RULES_DEFAULT, type Plan } from '../../../protocol/plans.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { tempFolder } from '../../support/temp.ts'
import { addAgent, addPoint, declareMachines, revokeAgent, startJob } from '../catalog.ts'

const HOUR_MS = 3_600_000
const START_MS = Date.UTC(2026, 10, 29, 12)

const HOURLY: Plan = {
  ...PLAN_RULES_DEFAULT,
  name: 'hourly',
  rpoMs: 4 * HOUR_MS,
  covers: { ...PLAN_RULES_DEFAULT.covers, others: true },
}

class World implements AsyncDisposable {
  readonly catalog: LocalCatalog
  readonly clock = new HandClock(START_MS)
  readonly acme: Tenant
  readonly online = new Set<string>()
  freshness: Freshness
  events: Events
  readonly #resources: AsyncDisposableStack

  constructor(catalog: LocalCatalog, acme: Tenant, resources: AsyncDisposableStack) {
    this.catalog = catalog
    this.acme = acme
    this.#resources = resources
    ;[this.events, this.freshness] = this.#watching()
  }

  static async open(): Promise<World> {
    await using stack = new AsyncDisposableStack()
    const temp = stack.use(await tempFolder())
    const catalog = stack.use(openLocal(temp.join('catalog.db')))
    const acme = await catalog.tenants.add({
      id: '00000000-0000-4000-8000-000000000001',
      name: 'acme',
      idKey: new Uint8Array(32),
      chunkBytes: 4096,
      nowMs: START_MS,
    })
    await catalog.plans.apply({ tenant: acme.id, plans: [HOURLY] })
    return new World(catalog, acme, stack.move())
  }

  /** The program ends and another one begins. */
  async restart(): Promise<void> {
    await this.freshness[Symbol.asyncDispose]()
    await this.events[Symbol.asyncDispose]()
    ;[this.events, this.freshness] = this.#watching()
  }

  async declare(agent: string, names: readonly string[]): Promise<void> {
    await declareMachines(this.catalog, { tenant: this.acme, agent, nowMs: this.clock.now() }, names)
  }

  async point(name: string): Promise<void> {
    const machine = await this.catalog.machines.get({ tenant: this.acme.id, name })
    await addPoint(this.catalog, this.acme, machine, { timeMs: this.clock.now(), nowMs: this.clock.now() })
  }

  async fail(name: string, code = 'SCRATCH_LOW'): Promise<void> {
    const { agent, ...machine } = await this.catalog.machines.get({ tenant: this.acme.id, name })
    const nowMs = this.clock.now()
    const job = await startJob(this.catalog, this.acme, { agent, ...machine }, { nowMs })
    await this.catalog.jobs.fail({ job, agent, code, message: 'it failed', nowMs: nowMs + 1 })
  }

  /** All that was told of states, in its order. */
  async told(): Promise<string[]> {
    const asked = { tenant: this.acme.id, kinds: ['machine.state'], machine: null, limit: 1000 } as const
    const { events } = await this.catalog.events.follow({ ...asked, after: 0 })
    return events.map(
      ({ machine, active, data }) => `${machine} ${active === true ? '' : 'good: '}${String(data['state'])}`,
    )
  }

  async states(): Promise<Record<string, string>> {
    await this.freshness.look()
    return Object.fromEntries([...this.freshness.watched()].map(({ machine, state }) => [machine, state]))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.freshness[Symbol.asyncDispose]()
    await this.events[Symbol.asyncDispose]()
    await this.#resources.disposeAsync()
  }

  #watching(): [Events, Freshness] {
    const { catalog, clock } = this
    const log = openLog({ level: 'silent' })
    const events = new Events({ catalog, clock, log })
    const states = new MachineStates({ catalog, online: (agent) => this.online.has(agent), clock })
    return [events, new Freshness({ catalog, events, states, clock, log })]
  }
}

test('a machine goes through its states, and each change is told once', async () => {
  await using world = await World.open()
  const { catalog, clock, acme } = world
  const agent = await addAgent(catalog, acme, 'hv1')
  world.online.add(agent)
  await world.declare(agent, ['db1'])
  // not yet due: shown and not told
  expect(await world.states()).toEqual({ db1: 'never' })
  clock.advance(4 * HOUR_MS + 1)
  expect(await world.states()).toEqual({ db1: 'never' })
  expect(await world.states()).toEqual({ db1: 'never' })
  await world.point('db1')
  expect(await world.states()).toEqual({ db1: 'fresh' })
  clock.advance(4 * HOUR_MS + 1)
  expect(await world.states()).toEqual({ db1: 'late' })
  await world.fail('db1')
  await world.fail('db1', 'CANCELLED')
  expect(await world.states()).toEqual({ db1: 'failing' })
  clock.advance(HOUR_MS)
  await world.point('db1')
  await world.states()
  const exclusion = { by: 'ann', reason: 'moves', sinceMs: clock.now(), untilMs: clock.now() + HOUR_MS }
  await catalog.plans.exclude({ tenant: acme.id, machine: 'db1', exclusion })
  expect(await world.states()).toEqual({ db1: 'excluded' })
  clock.advance(HOUR_MS)
  expect(await world.states()).toEqual({ db1: 'fresh' })
  await world.declare(agent, [])
  expect(await world.states()).toEqual({ db1: 'archived' })
  await world.declare(agent, ['db1'])
  expect(await world.states()).toEqual({ db1: 'fresh' })
  await catalog.plans.apply({ tenant: acme.id, plans: [], remove: ['hourly'] })
  expect(await world.states()).toEqual({ db1: 'uncovered' })
  await revokeAgent(catalog, acme, agent)
  expect(await world.states()).toEqual({ db1: 'orphaned' })
  const told = [
    'db1 never',
    'db1 good: fresh',
    'db1 late',
    'db1 failing',
    'db1 good: fresh',
    'db1 excluded',
    'db1 good: fresh',
    'db1 archived',
    'db1 good: fresh',
    'db1 uncovered',
    'db1 orphaned',
  ]
  expect(await world.told()).toEqual(told)
  // nothing of it is told again by a program that begins now
  await world.restart()
  await world.states()
  expect(await world.told()).toEqual(told)
})

test('while its run may be tried again a failure is shown and told only once it is late', async () => {
  await using world = await World.open()
  const { catalog, clock, acme } = world
  const agent = await addAgent(catalog, acme)
  world.online.add(agent)
  await world.declare(agent, ['db1'])
  await world.point('db1')
  clock.advance(HOUR_MS)
  const id = '00000000-0000-4000-8000-00000000000a'
  const due = { id, tenant: acme.id, kind: 'backup', machine: 'db1', plan: 'hourly', dueMs: clock.now() } as const
  await catalog.runs.plan({ runs: [due] })
  const error = { code: 'STORE_FULL', message: 'no room' }
  const nextMs = clock.now() + 600_000
  const from = { state: 'due', attempts: 0 } as const
  await catalog.runs.end({ id, from, state: 'due', error, nextMs, attempts: 1, nowMs: clock.now() })
  expect(await world.states()).toEqual({ db1: 'failing' })
  expect(await world.told()).toEqual([])
  clock.advance(3 * HOUR_MS + 1)
  await world.states()
  expect(await world.told()).toEqual(['db1 failing'])
  const [facts] = await catalog.coverage.facts({ tenant: acme.id, machine: 'db1', group: null, after: null, limit: 1 })
  expect(facts).toMatchObject({ failure: { error, open: true, retryMs: nextMs }, dueMs: nextMs })
})

test('an agent that is away makes machines late, then orphans; one that nobody heard since the start waits as well', async () => {
  await using world = await World.open()
  const { catalog, clock, acme } = world
  const agent = await addAgent(catalog, acme, 'hv1')
  await world.declare(agent, ['db1'])
  await world.point('db1')
  // it was heard of years ago, and this gateway has only just begun
  expect(await world.states()).toEqual({ db1: 'fresh' })
  clock.advance(UNHEARD_MS)
  expect(await world.states()).toEqual({ db1: 'late' })
  clock.advance(1)
  expect(await world.states()).toEqual({ db1: 'orphaned' })
  world.online.add(agent)
  expect(await world.states()).toEqual({ db1: 'late' })
})

test('an unverified machine is told of, and good once it is verified', async () => {
  await using world = await World.open()
  const { catalog, clock, acme } = world
  await catalog.plans.apply({ tenant: acme.id, plans: [{ ...HOURLY, rpoMs: 60 * DAY_MS, verifyDays: 7 }] })
  const agent = await addAgent(catalog, acme)
  world.online.add(agent)
  await world.declare(agent, ['db1'])
  await world.point('db1')
  clock.advance(10 * DAY_MS + 1)
  expect(await world.states()).toEqual({ db1: 'unverified' })
  const points = await catalog.points.list({ tenant: acme.id, agent: null, machine: 'db1', before: null, limit: 9 })
  const ids = points.points.map(({ id }) => id)
  await catalog.points.verified({ tenant: acme.id, points: ids, nowMs: clock.now() })
  expect(await world.states()).toEqual({ db1: 'fresh' })
  expect(await world.told()).toEqual(['db1 unverified', 'db1 good: fresh'])
})

test('it looks by itself each minute, and soon after a backup has ended', async () => {
  await using world = await World.open()
  const { catalog, clock, acme } = world
  const agent = await addAgent(catalog, acme)
  world.online.add(agent)
  await world.declare(agent, ['db1', 'db2'])
  await world.point('db1')
  await world.point('db2')
  world.freshness.start()
  await clock.advanceSettled(1)
  expect([...world.freshness.watched()].map(({ state }) => state)).toEqual(['fresh', 'fresh'])
  await clock.advanceSettled(4 * HOUR_MS + LOOK_MS)
  expect((await world.told()).toSorted()).toEqual(['db1 late', 'db2 late'])
  await world.point('db1')
  world.events.wake()
  await clock.advanceSettled(SOON_MS)
  expect((await world.told()).at(-1)).toBe('db1 good: fresh')
  await clock.advanceSettled(10 * LOOK_MS)
  expect(await world.told()).toHaveLength(3)
})
