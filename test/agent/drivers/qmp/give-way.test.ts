// A backup gives way to a migration. Goal: the machine arrives, and whichever agent backs it up next continues the old bitmaps,
// exactly. Method: two real QEMUs, an agent beside each, live migrations that begin while the first agent holds a lease.
import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { gaveWay, watchMove } from '../../../../agent/drivers/qmp/give-way.ts'
import type { QmpCaller } from '../../../../agent/qmp/client.ts'
import { asBase, checkpointsOf, MIB, type LeaseBench, type TestAgent } from '../../../support/lease.ts'
import {
  bitmapsOf,
  committed,
  expectContent,
  migrationOf,
  OTHER,
  pairOf,
  reasons,
  stateOf,
  type Pair,
} from '../../../support/moving-pair.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

const KIB64 = 64 * 1024
const SLOW = 4096
const INCREMENTS = ['vda incremental bitmap', 'vdb incremental bitmap']
const GAVE_WAY = {
  code: 'MACHINE_MOVING',
  message: expect.stringMatching(/^the backup of machine test gave way: .*back it up/),
}

/** A committed point, writes after it, and a lease over both that is held. */
const hold = async (bench: LeaseBench, agent: TestAgent, full: boolean): Promise<{ first: Lease; lease: Lease }> => {
  await bench.write('vda', 0x11, 0, 4 * MIB)
  await bench.write('vdb', 0x11, 0, 4 * MIB)
  const first = await agent.driver.begin(bench.request())
  await first.end('committed')
  for (const name of ['vda', 'vdb']) await bench.write(name, 0x22, MIB, KIB64)
  const lease = await agent.driver.begin(bench.request({ base: asBase(first), full }))
  for (const name of ['vda', 'vdb']) await bench.write(name, 0x33, 2 * MIB, KIB64)
  return { first, lease }
}

const expectEmpty = async (bench: LeaseBench, bitmaps: readonly string[]): Promise<void> =>
  expect(await bench.objects()).toMatchObject({ exports: [], jobs: [], bitmaps })

const goOn = async ({ here }: Pair): Promise<unknown> =>
  here.machine.control.execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 })

const isActive = async ({ here }: Pair): Promise<boolean> => (await migrationOf(here.machine)) === 'active'

/** The next backup on the other host is an increment over the base, and leaves no bitmap of the first agent's. */
const expectIncrement = async ({ there }: Pair, first: Lease, read: readonly string[] = INCREMENTS): Promise<void> => {
  await there.write('vda', 0x44, 3 * MIB, KIB64)
  await using agent = await there.agent()
  const next = await agent.driver.begin(there.request({ agentId: OTHER, base: asBase(first) }))
  expect(reasons(next)).toEqual(read)
  await expectContent(there, next)
  await next.end('committed')
  const names = (await bitmapsOf(there)).map(({ name }) => name)
  expect(names.toSorted()).toEqual([0, 1].map((index) => `varve-0badcafe-cp-${next.id}-${index}`))
}

describe('a migration that begins while a lease is held', () => {
  test.each([true, false])(
    'without bitmaps: the lease gives way, and the machine arrives (full read: %s)',
    async (full) => {
      await using folder = await tempFolder()
      await using pair = await pairOf(folder, { bitmaps: false })
      const { here } = pair
      await using agent = await here.agent()
      const { first, lease } = await hold(here, agent, full)
      await pair.begin(SLOW)
      expect(await lease.lost).toMatchObject(GAVE_WAY)
      await expect(lease.check()).rejects.toMatchObject(GAVE_WAY)
      await lease.end('failed')
      expect(await isActive(pair)).toBe(true)
      await expectEmpty(here, checkpointsOf(first.id, ['vda', 'vdb']))
      expect(await agent.journal.list()).toEqual([])
      await goOn(pair)
      await pair.arrived()
      await expectIncrement(pair, first, ['vda incremental bitmap', 'vdb full moved'])
    },
  )

  test('with bitmaps, which QEMU holds until then: the new one goes along, and the next commit removes it', async () => {
    await using folder = await tempFolder()
    await using pair = await pairOf(folder, { bitmaps: true })
    const { here } = pair
    await using agent = await here.agent()
    const { first, lease } = await hold(here, agent, true)
    await pair.begin(SLOW)
    expect(await lease.lost).toMatchObject(GAVE_WAY)
    await expect(lease.end('failed')).rejects.toMatchObject({
      code: 'MACHINE_MOVING',
      message: expect.stringMatching(/checkpoints .* cannot be removed now/),
    })
    expect(await isActive(pair)).toBe(true)
    const both = [first, lease].flatMap(({ id }) => checkpointsOf(id, ['vda', 'vdb'])).toSorted()
    await expectEmpty(here, both)
    await goOn(pair)
    await pair.arrived()
    await expectIncrement(pair, first)
  })

  test('with bitmaps an increment’s own one makes it fail at once: the lease gives way, and the next try arrives', async () => {
    await using folder = await tempFolder()
    await using pair = await pairOf(folder, { bitmaps: true })
    const { here } = pair
    await using agent = await here.agent()
    const { first, lease } = await hold(here, agent, false)
    await pair.begin(SLOW)
    expect(await lease.lost).toMatchObject(GAVE_WAY)
    await lease.end('failed')
    expect(await migrationOf(here.machine)).toBe('failed')
    expect(await stateOf(here.machine)).toBe('running')
    await expectEmpty(here, checkpointsOf(first.id, ['vda', 'vdb']))
    await pair.begin()
    await pair.arrived()
    await expectIncrement(pair, first)
  })

  test.each([true, false])(
    'one that is cancelled then leaves nothing, and the next backup is an increment (bitmaps: %s)',
    async (bitmaps) => {
      await using folder = await tempFolder()
      await using pair = await pairOf(folder, { bitmaps })
      const { here } = pair
      await using agent = await here.agent()
      const { first, lease } = await hold(here, agent, true)
      await pair.begin(SLOW)
      expect(await lease.lost).toMatchObject(GAVE_WAY)
      await lease.end('failed').catch(() => undefined)
      await here.machine.control.execute('migrate_cancel')
      await eventually(async () => (await migrationOf(here.machine)) === 'cancelled')
      for (const entry of await agent.journal.list()) await agent.driver.settle(entry, 'failed')
      await expectEmpty(here, checkpointsOf(first.id, ['vda', 'vdb']))
      const next = await agent.driver.begin(here.request({ base: asBase(first) }))
      expect(reasons(next)).toEqual(INCREMENTS)
      await expectContent(here, next)
      await next.end('committed')
      await expectEmpty(here, checkpointsOf(next.id, ['vda', 'vdb']))
    },
  )

  test('a killed agent’s lease is in nobody’s way once an agent runs again, before anyone tells it the outcome', async () => {
    await using folder = await tempFolder()
    await using pair = await pairOf(folder, { bitmaps: false })
    const { here } = pair
    const first = await committed(here)
    await here.write('vda', 0x22, MIB, KIB64)
    const victim = await here.victim(here.request({ base: asBase(first) }), 0)
    await pair.begin(SLOW)
    await victim.end('SIGKILL')
    await using agent = await here.agent()
    await agent.driver.watchLeft()
    await eventually(async () =>
      ((await here.objects()) as { nodes: string[] }).nodes.every((node) => !node.startsWith('varve')),
    )
    const [entry] = await agent.journal.list()
    await expect(agent.driver.adopt(entry!)).rejects.toMatchObject(GAVE_WAY)
    expect(await isActive(pair)).toBe(true)
    // the gateway may have the point: until it says that it has not, both checkpoints stay
    await expectEmpty(here, [first.id, entry!.id].flatMap((id) => checkpointsOf(id, ['vda', 'vdb'])).toSorted())
    await agent.driver.settle(entry!, 'failed')
    expect(existsSync(here.folder + `/state/scratch/${entry!.id}`)).toBe(false)
    await goOn(pair)
    await pair.arrived()
    await expectIncrement(pair, first, ['vda incremental bitmap', 'vdb full moved'])
  })
})

/** A QEMU whose machine runs, and whose migration has these states one after the other. */
const answering = (...migrations: readonly unknown[]): QmpCaller => {
  let asked = 0
  return {
    version: { major: 7, minor: 2, micro: 0 },
    closed: new Promise(() => undefined),
    subscribe: () => () => undefined,
    execute: async (command) => (command === 'query-status' ? { status: 'running' } : migrations[asked++]),
  }
}

describe('what is seen of a migration', () => {
  const { signal } = new AbortController()
  const seen = (client: QmpCaller): Promise<string | null> => watchMove({ connect: async () => client, signal })

  test('one under way, also when QEMU does not answer at first', async () => {
    let tries = 0
    const client = answering({}, { status: 'setup' })
    const connect = async (): Promise<QmpCaller> => {
      if ((tries += 1) === 1) throw new Error('no answer')
      return client
    }
    expect(await watchMove({ connect, signal })).toBe('it is moving to another host (migration setup)')
  })

  test('one that has failed between two looks, but not one that had failed before', async () => {
    const before = { status: 'failed', 'error-desc': 'nobody listens' }
    expect(await seen(answering({}, { status: 'failed' }))).toMatch(/has failed as the backup was in the way/)
    expect(await seen(answering(before, before, { status: 'active' }))).toMatch(/\(migration active\)$/)
    expect(await seen(answering(before, { status: 'failed', 'error-desc': 'busy' }))).toMatch(/has failed/)
  })

  test('nothing once the lease has ended', async () => {
    expect(await watchMove({ connect: async () => answering({}), signal: AbortSignal.abort() })).toBe(null)
    const stopping = new AbortController()
    const watching = watchMove({ connect: async () => answering({}, {}, {}), signal: stopping.signal })
    stopping.abort()
    expect(await watching).toBe(null)
  })

  test('the error names the machine and the way out', () => {
    expect(gaveWay('db1', 'it is moving')).toMatchObject({
      code: 'MACHINE_MOVING',
      message:
        'the backup of machine db1 gave way: it is moving; back it up again when it has arrived, on the host where it runs',
      details: { machine: 'db1' },
    })
  })
})
