// Machines that move, through the gateway's own sessions: who has them, what is audited, and where a backup starts.
import { expect, test } from 'vitest'
import type { Params, Result } from '../../../protocol/methods.ts'
import type { Handlers, Peer } from '../../../protocol/peer.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { announced } from '../../support/announced.ts'
import { eventually } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addPoint } from '../catalog.ts'
import { TestServices, type TestAgent } from '../services.ts'

const ONE = '11111111-1111-4111-8111-111111111111'
const TWO = '22222222-2222-4222-8222-222222222222'

type Machine = Params<'agent.inventory'>['machines'][number]
type Answer = Result<'agent.inventory'>

const here = announced('db1', { uuid: ONE })
const away = announced('db1', { uuid: ONE, here: false })

/** A host: an agent with what it accepted. */
class TestHost {
  readonly agent: TestAgent
  readonly #test: TestServices
  readonly #name: string
  /** Machines that it was told to back up. */
  readonly orders: string[] = []
  #peer: Peer | null = null

  constructor(test: TestServices, name: string, agent: TestAgent) {
    this.#test = test
    this.#name = name
    this.agent = agent
  }

  get id(): string {
    return this.agent.id
  }

  async says(...machines: readonly Machine[]): Promise<Answer> {
    this.#peer ??= await this.#connect()
    return this.#peer.call('agent.inventory', { host: this.#name, machines: [...machines], jobs: [] })
  }

  async goes(): Promise<void> {
    this.#peer?.close(new VarveError('CANCELLED', 'away'))
    this.#peer = null
    await eventually(() => !this.#test.services.sessions.online(this.id))
  }

  async #connect(): Promise<Peer> {
    const handlers: Handlers = {
      'agent.backup': async ({ machine }) => {
        this.orders.push(machine)
        return {}
      },
      'agent.cancel': async () => ({}),
    }
    return (await this.#test.session(this.agent.assertion(), { serving: true }, handlers)).peer
  }
}

class World implements AsyncDisposable {
  readonly test: TestServices
  readonly owner: Peer

  constructor(test: TestServices, owner: Peer) {
    this.test = test
    this.owner = owner
  }

  static async open(): Promise<World> {
    const test = await TestServices.open()
    return new World(test, await test.person('owner'))
  }

  async host(name: string, site: string | null = 'dc1', tenant = this.test.acme): Promise<TestHost> {
    const agent = await this.test.agent(tenant, name)
    const owner = tenant === this.test.acme ? this.owner : await this.test.person('owner', tenant)
    if (site !== null) await owner.call('agents.setSite', { agent: agent.id, site })
    return new TestHost(this.test, name, agent)
  }

  /** A machine with a restore point, made by this host. */
  async machine(host: TestHost): Promise<void> {
    await host.says(here)
    const { catalog } = this.test.services.datastore
    const row = await catalog.machines.get({ tenant: this.test.acme.id, name: 'db1' })
    await addPoint(catalog, this.test.acme, row)
  }

  async holder(): Promise<{ agent: string; uuid: string | null; site: string | null }> {
    const { agent, uuid, site } = (await this.owner.call('machines.list', { machine: 'db1' })).machines[0]!
    return { agent, uuid, site }
  }

  async moves(): Promise<{ subject: string; resource: string; details: object }[]> {
    const entries = await this.test.audited(this.test.acme)
    return entries
      .filter(({ action }) => action === 'machines.move')
      .map(({ subject, resource, details }) => ({ subject, resource, details }))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.test[Symbol.asyncDispose]()
  }
}

test('a machine that left the one host and runs on the other is taken over, whoever speaks first; it can come back', async () => {
  await using world = await World.open()
  const [alpha, beta] = [await world.host('alpha'), await world.host('beta')]
  await world.machine(alpha)
  expect((await beta.says(away)).refused).toMatchObject([{ machine: 'db1', code: 'MACHINE_MOVING' }])
  // the new host speaks first: the machine stays until the old one says that it has left
  expect((await beta.says(here)).refused).toMatchObject([{ code: 'EXISTS' }])
  expect((await world.holder()).agent).toBe(alpha.id)
  expect((await alpha.says(away)).refused).toEqual([])
  expect(await world.holder()).toEqual({ agent: beta.id, uuid: ONE, site: 'dc1' })
  expect((await beta.says(here)).refused).toEqual([])
  // back again, where the old host speaks first
  expect((await beta.says(away)).refused).toEqual([])
  expect((await alpha.says(here)).refused).toEqual([])
  expect((await world.holder()).agent).toBe(alpha.id)
  const about = { site: 'dc1', uuid: ONE }
  expect(await world.moves()).toEqual([
    {
      subject: beta.id,
      resource: `machine=db1 agent=${beta.id}`,
      details: { ...about, from: alpha.id, host: 'alpha' },
    },
    {
      subject: alpha.id,
      resource: `machine=db1 agent=${alpha.id}`,
      details: { ...about, from: beta.id, host: 'beta' },
    },
  ])
})

test('a machine whose agent is not connected is taken over; the former agent is told so and reads nothing of it', async () => {
  await using world = await World.open()
  const [alpha, beta] = [await world.host('alpha'), await world.host('beta')]
  await world.machine(alpha)
  await alpha.goes()
  expect((await beta.says(here)).refused).toEqual([])
  expect((await world.holder()).agent).toBe(beta.id)
  expect((await alpha.says(away)).refused).toMatchObject([{ machine: 'db1', code: 'MACHINE_MOVING' }])
  const peer = (await world.test.session(alpha.agent.assertion())).peer
  expect((await peer.call('points.list', { machine: null })).points).toEqual([])
  expect(await codeOf(peer.call('machines.status', { machine: 'db1' }))).toBe('NOT_FOUND')
})

test('a clone that runs on both hosts stays with its agent, however often the other one claims it, and is logged once', async () => {
  await using world = await World.open()
  const lines: string[] = []
  const { log } = world.test.services
  const warn = log.warn.bind(log)
  log.warn = ((details: object, message: string) => {
    lines.push(message)
    warn(details, message)
  }) as typeof log.warn
  const [alpha, beta] = [await world.host('alpha'), await world.host('beta')]
  await world.machine(alpha)
  for (let round = 0; round < 5; round++) {
    expect((await beta.says(here)).refused).toMatchObject([
      { code: 'EXISTS', message: expect.stringContaining('copy') as string },
    ])
    expect((await alpha.says(here)).refused).toEqual([])
  }
  expect((await world.holder()).agent).toBe(alpha.id)
  expect(lines.filter((line) => line.includes('stays with its agent'))).toHaveLength(1)
})

test.each([
  ['no site', null, null],
  ['another site', 'dc1', 'dc2'],
  ['a site of one of them only', 'dc1', null],
])('without a common site nothing passes on: %s', async (_, first, second) => {
  await using world = await World.open()
  const [alpha, beta] = [await world.host('alpha', first), await world.host('beta', second)]
  await world.machine(alpha)
  await alpha.says(away)
  expect((await beta.says(here)).refused).toMatchObject([
    { code: 'EXISTS', message: expect.stringContaining('let an owner assign it') as string },
  ])
  await alpha.goes()
  expect((await beta.says(here)).refused).toMatchObject([{ code: 'EXISTS' }])
  expect(await codeOf(world.owner.call('backup.start', { machine: 'db1', full: false }))).toBe('AGENT_OFFLINE')
  expect((await world.holder()).agent).toBe(alpha.id)
  expect(await world.moves()).toEqual([])
})

test('a site of the same name in another tenant is another one', async () => {
  await using world = await World.open()
  const alpha = await world.host('alpha')
  const theirs = await world.host('theirs', 'dc1', world.test.other)
  await world.machine(alpha)
  await alpha.goes()
  expect((await theirs.says(here)).refused).toEqual([])
  expect((await world.holder()).agent).toBe(alpha.id)
  expect(await codeOf(world.owner.call('backup.start', { machine: 'db1', full: false }))).toBe('AGENT_OFFLINE')
  expect(theirs.orders).toEqual([])
})

test('an agent cannot set a site, an owner only those of the own tenant; a revoked agent has none, and its machines stay', async () => {
  await using world = await World.open()
  const [alpha, beta] = [await world.host('alpha'), await world.host('beta', null)]
  await world.machine(alpha)
  const { peer } = await world.test.session(beta.agent.assertion())
  const own = { agent: beta.id, site: 'dc1' }
  expect(await codeOf(peer.call('agents.setSite', own))).toBe('ROLE_FORBIDDEN')
  for (const role of ['operator', 'viewer', 'auditor', 'platform'] as const)
    expect(await codeOf((await world.test.person(role)).call('agents.setSite', own))).toBe('ROLE_FORBIDDEN')
  const stranger = await world.test.person('owner', world.test.other)
  expect(await codeOf(stranger.call('agents.setSite', own))).toBe('NOT_FOUND')
  expect(await world.owner.call('agents.setSite', own)).toEqual({ host: 'beta', changed: true })
  expect(await world.owner.call('agents.setSite', own)).toEqual({ host: 'beta', changed: false })
  await world.owner.call('agents.revoke', { agent: alpha.id })
  const sites = (await world.owner.call('agents.list', {})).agents.map(({ id, site }) => [id, site])
  expect(Object.fromEntries(sites)).toEqual({ [alpha.id]: null, [beta.id]: 'dc1' })
  expect(await codeOf(world.owner.call('agents.setSite', { agent: alpha.id, site: 'dc1' }))).toBe('AGENT_REVOKED')
  expect((await beta.says(here)).refused).toMatchObject([{ code: 'EXISTS' }])
  expect((await world.holder()).agent).toBe(alpha.id)
})

test('a backup starts where the machine runs, and where it is known to be off at its own agent', async () => {
  await using world = await World.open()
  const [alpha, beta] = [await world.host('alpha'), await world.host('beta')]
  await world.machine(alpha)
  await beta.says(here)
  await alpha.goes()
  const start = () => world.owner.call('backup.start', { machine: 'db1', full: false })
  const { job } = await start()
  expect([alpha.orders, beta.orders]).toEqual([[], ['db1']])
  expect((await world.holder()).agent).toBe(beta.id)
  await world.owner.call('jobs.cancel', { job })
  // off: nobody has it running, and its agent backs it up if it can
  await beta.says(away)
  await alpha.says(away)
  await start()
  expect([alpha.orders, beta.orders]).toEqual([[], ['db1', 'db1']])
})

test('no second backup begins while the former agent has one, whose end is still taken', async () => {
  await using world = await World.open()
  const [alpha, beta] = [await world.host('alpha'), await world.host('beta')]
  await world.machine(alpha)
  const start = () => world.owner.call('backup.start', { machine: 'db1', full: false })
  const { job } = await start()
  await alpha.goes()
  await beta.says(here)
  expect((await world.holder()).agent).toBe(beta.id)
  expect(await codeOf(start())).toBe('JOB_RUNNING')
  expect((await world.owner.call('machines.list', { machine: 'db1' })).machines[0]!.job).toBe(job)
  expect(beta.orders).toEqual([])
  // its agent comes back without the job
  await alpha.says()
  await start()
  expect(beta.orders).toEqual(['db1'])
})

test('a machine that was named where it never ran goes to the host where it runs, until there is something to protect', async () => {
  await using world = await World.open()
  const [alpha, beta] = [await world.host('alpha'), await world.host('beta')]
  await alpha.says(announced('db1', { here: false }))
  expect((await beta.says(here)).refused).toEqual([])
  expect(await world.holder()).toMatchObject({ agent: beta.id, uuid: ONE })
  await world.machine(beta)
  await beta.says(announced('db1', { uuid: null, here: false }))
  expect((await alpha.says(announced('db1'))).refused).toMatchObject([{ code: 'EXISTS' }])
  expect((await alpha.says(announced('db1', { uuid: TWO }))).refused).toMatchObject([{ code: 'EXISTS' }])
  expect(await world.holder()).toMatchObject({ agent: beta.id, uuid: ONE })
})

test('a machine that runs at its agent under another uuid goes on under that one; elsewhere and off it keeps its own', async () => {
  await using world = await World.open()
  const [alpha, beta] = [await world.host('alpha'), await world.host('beta')]
  await world.machine(alpha)
  await alpha.says(announced('db1', { uuid: TWO, here: false }))
  expect((await world.holder()).uuid).toBe(ONE)
  await alpha.says(announced('db1', { uuid: TWO }))
  expect((await world.holder()).uuid).toBe(TWO)
  await alpha.says(announced('db1', { uuid: null, here: false }))
  expect((await world.holder()).uuid).toBe(TWO)
  // what has the former one is another machine now
  expect((await beta.says(here)).refused).toMatchObject([{ code: 'EXISTS' }])
  expect((await beta.says(announced('db1', { uuid: TWO }))).refused).toEqual([])
  expect((await world.holder()).agent).toBe(beta.id)
})

test('what an agent says once more while backups run ends none of those that it was handed', async () => {
  await using world = await World.open()
  const alpha = await world.host('alpha')
  await world.machine(alpha)
  const { job } = await world.owner.call('backup.start', { machine: 'db1', full: false })
  expect((await alpha.says(here)).jobs).toEqual([])
  const { jobs } = await world.owner.call('jobs.list', { machine: null })
  expect(jobs.find(({ id }) => id === job)?.state).toBe('running')
})
