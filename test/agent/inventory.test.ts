// What the agent tells of its machines, and when: at once, after a change that has settled, and not more often than it may.
import { expect, test } from 'vitest'
import { Inventory } from '../../agent/inventory.ts'
import type { MachineConfig, MachineIdentity } from '../../agent/drivers/driver.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import { HandClock, settle } from '../support/hand-clock.ts'

const ONE = '11111111-1111-4111-8111-111111111111'

type Told = Params<'agent.inventory'>
type Refused = Result<'agent.inventory'>['refused']

const machine = (name: string): MachineConfig => ({
  name,
  driver: 'qmp',
  address: `/run/${name}`,
  keys: { qmp: `/run/${name}` },
  exclude: [],
  attach: [],
})

/** An agent with machines that are where the test says, and a gateway that takes what it is told. */
class Setting {
  readonly clock = new HandClock()
  readonly machines = [machine('db1'), machine('db2')]
  readonly identities = new Map<string, MachineIdentity>()
  readonly told: Told[] = []
  /** How often each machine was asked. */
  readonly asked: string[] = []
  readonly refusals: Refused[] = []
  readonly warnings: unknown[] = []
  refused: Refused = []
  readonly relay = ['query-status']
  failure: VarveError | null = null
  readonly inventory: Inventory

  constructor() {
    this.identities.set('db1', { uuid: ONE, here: true })
    this.inventory = new Inventory({
      host: 'alpha',
      machines: this.machines,
      driverOf: () => ({
        identify: async ({ name }) => {
          this.asked.push(name)
          return this.identities.get(name) ?? { uuid: null, here: false }
        },
      }),
      relay: this.relay,
      jobs: async () => ['job'],
      onRefused: async (refused) => void this.refusals.push(refused),
      clock: this.clock,
      log: { warn: (details: unknown) => void this.warnings.push(details) } as never,
    })
  }

  peer(): { peer: Peer; close: () => void } {
    const { promise, resolve } = Promise.withResolvers<VarveError>()
    const call = async (_: string, params: Told): Promise<Result<'agent.inventory'>> => {
      if (this.failure !== null) throw this.failure
      this.told.push(params)
      return { refused: this.refused, jobs: [{ job: 'job', state: null, keys: null }] }
    }
    const close = (): void => resolve(new VarveError('CONNECTION_LOST', 'gone'))
    return { peer: { call, closed: promise } as unknown as Peer, close }
  }

  async pass(ms: number): Promise<void> {
    await settle()
    await this.clock.advanceSettled(ms)
    await settle()
  }

  /** The machines that were told last. */
  get last(): Record<string, boolean> {
    return Object.fromEntries(this.told.at(-1)!.machines.map(({ name, here }) => [name, here]))
  }
}

test('a new connection is told of all machines with the jobs, and gives what the gateway says of those', async () => {
  const setting = new Setting()
  using inventory = setting.inventory
  const jobs = await inventory.open(setting.peer().peer)
  expect(jobs).toEqual([{ job: 'job', state: null, keys: null }])
  const machines = [
    { name: 'db1', uuid: ONE, here: true },
    { name: 'db2', uuid: null, here: false },
  ]
  const relay = { commands: ['query-status'], more: 0 }
  expect(setting.told).toEqual([{ host: 'alpha', machines, jobs: ['job'], relay }])
})

test('a machine that comes is told once it has settled, those beside it are not asked, and a change back is none', async () => {
  const setting = new Setting()
  using inventory = setting.inventory
  await inventory.open(setting.peer().peer)
  setting.asked.length = 0
  setting.identities.set('db2', { uuid: null, here: true })
  inventory.changed('db2')
  expect(setting.told).toHaveLength(1)
  await setting.pass(5000)
  expect(setting.last).toEqual({ db1: true, db2: true })
  expect([setting.told.length, setting.asked]).toEqual([2, ['db2']])
  inventory.changed('db2')
  await setting.pass(5000)
  expect(setting.told).toHaveLength(2)
})

test('a machine that changes all the time is looked at each two seconds', async () => {
  const setting = new Setting()
  using inventory = setting.inventory
  await inventory.open(setting.peer().peer)
  for (let turn = 0; turn < 200; turn++) {
    setting.identities.set('db2', { uuid: null, here: turn % 2 === 0 })
    inventory.changed('db2')
    await setting.pass(100)
  }
  expect(setting.told.length).toBeGreaterThan(1)
  expect(setting.told.length).toBeLessThanOrEqual(12)
  expect(setting.clock.waiting).toBe(1)
})

test('an arrival without an event is found by itself', async () => {
  const setting = new Setting()
  using inventory = setting.inventory
  await inventory.open(setting.peer().peer)
  setting.identities.set('db2', { uuid: null, here: true })
  await setting.pass(40_000)
  expect(setting.last).toEqual({ db1: true, db2: true })
  const { length } = setting.told
  // nothing new is not told again
  await setting.pass(200_000)
  expect(setting.told).toHaveLength(length)
})

test('after a departure the gateway is told once more, to hear who has the machine', async () => {
  const setting = new Setting()
  using inventory = setting.inventory
  await inventory.open(setting.peer().peer)
  setting.identities.set('db1', { uuid: ONE, here: false })
  inventory.changed('db1')
  await setting.pass(3000)
  expect([setting.told.length, setting.refusals]).toEqual([2, [[]]])
  setting.refused = [{ machine: 'db1', code: 'MACHINE_MOVING', message: 'elsewhere' }]
  await setting.pass(15_000)
  expect([setting.told.length, setting.refusals]).toEqual([3, [[], setting.refused]])
  await setting.pass(200_000)
  expect(setting.told).toHaveLength(3)
})

test('a machine that is here and was refused is told again until it is not; a refusal is passed on once', async () => {
  const setting = new Setting()
  using inventory = setting.inventory
  setting.refused = [{ machine: 'db1', code: 'EXISTS', message: 'no' }]
  await inventory.open(setting.peer().peer)
  await setting.pass(100_000)
  expect(setting.told.length).toBeGreaterThanOrEqual(4)
  expect(setting.refusals).toEqual([setting.refused])
  setting.refused = []
  await setting.pass(40_000)
  expect(setting.refusals.at(-1)).toEqual([])
  const { length } = setting.told
  await setting.pass(200_000)
  expect(setting.told).toHaveLength(length)
  // one that is not here waits for its arrival
  setting.refused = [{ machine: 'db2', code: 'MACHINE_MOVING', message: 'elsewhere' }]
  await inventory.open(setting.peer().peer)
  await setting.pass(200_000)
  expect(setting.told).toHaveLength(length + 1)
})

test('without a connection nothing is told, and what failed is told again', async () => {
  const setting = new Setting()
  using inventory = setting.inventory
  const { peer, close } = setting.peer()
  await inventory.open(peer)
  close()
  setting.identities.set('db2', { uuid: null, here: true })
  inventory.changed('db2')
  await setting.pass(100_000)
  expect(setting.told).toHaveLength(1)
  await inventory.open(setting.peer().peer)
  expect(setting.last).toEqual({ db1: true, db2: true })
  setting.failure = new VarveError('STORE_FULL', 'full')
  setting.identities.set('db2', { uuid: null, here: false })
  inventory.changed('db2')
  await setting.pass(5000)
  expect([setting.told.length, setting.warnings]).toEqual([2, [{ code: 'STORE_FULL', reason: 'full' }]])
  setting.failure = null
  await setting.pass(40_000)
  expect(setting.last).toEqual({ db1: true, db2: false })
})

test('machines of a reloaded configuration are told with the next look, and nothing is looked at after the end', async () => {
  const setting = new Setting()
  const { inventory } = setting
  await inventory.open(setting.peer().peer)
  setting.machines.splice(0, 1, machine('db3'))
  await setting.pass(40_000)
  expect(setting.last).toEqual({ db3: false, db2: false })
  inventory[Symbol.dispose]()
  inventory.changed('db2')
  setting.asked.length = 0
  await setting.pass(100_000)
  expect([setting.asked, setting.clock.waiting]).toEqual([[], 0])
})

test('commands that a reload allows are told with the next look', async () => {
  const setting = new Setting()
  using inventory = setting.inventory
  await inventory.open(setting.peer().peer)
  setting.relay.push('query-block')
  await setting.pass(30_000)
  expect(setting.told.map(({ relay }) => relay?.commands.length)).toEqual([1, 2])
  await setting.pass(30_000)
  expect(setting.told).toHaveLength(2)
})
