// The agent dies before or after any command of a lease; the next one leaves QEMU exactly as it was.

import { existsSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { LeaseOutcome } from '../../../../agent/drivers/driver.ts'
import { ScriptedGuestAgent } from '../../../support/guest-agent.ts'
import { asBase, checkpointsOf, startBench, threeDisks } from '../../../support/lease.ts'
import type { LeaseBench } from '../../../support/lease.ts'
import { TestMachine } from '../../../support/qemu.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

type Moment = 'before' | 'after'

/** Dies at command number `at` that changes something; `count` says how many there were. */
const counter = (at: number, moment: Moment) => {
  const seen = { count: 0 }
  const dies = (command: string): Moment | null => {
    if (command.startsWith('query-') || command === 'qom-get') return null
    seen.count += 1
    return seen.count === at ? moment : null
  }
  return { seen, dies }
}

const expectClean = async (bench: LeaseBench, objects: unknown): Promise<void> => {
  expect(await bench.objects()).toEqual(objects)
  expect(await readdir(`${bench.stateFolder}/leases`)).toEqual([])
  expect(await readdir(`${bench.stateFolder}/scratch`)).toEqual([])
  expect(await readdir(`${bench.folder}/run`)).toEqual([])
}

const settleAll = async (bench: LeaseBench, outcome: LeaseOutcome): Promise<void> => {
  await using agent = await bench.agent()
  for (const entry of await agent.journal.list()) await agent.driver.settle(entry, outcome)
}

test('death at any command of begin', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 2))
  const { control } = bench.machine
  await control.execute('block-dirty-bitmap-add', { node: 'vda', name: 'theirs' })
  await using first = await bench.agent()
  const committed = await first.driver.begin(bench.request())
  await committed.end('committed')
  await first[Symbol.asyncDispose]()
  await bench.write('vda', 0x11, 0, 65_536)
  const untouched = await bench.objects()

  const deaths = [...Array.from({ length: 7 }).keys()].flatMap((at): [number, Moment][] => [
    [at + 1, 'before'],
    [at + 1, 'after'],
  ])
  for (const [at, moment] of deaths) {
    const { dies, seen } = counter(at, moment)
    await using agent = await bench.agent({ dies })
    const request = bench.request({ base: asBase(committed) })
    const begun = agent.driver.begin(request)
    const outcome = await Promise.race([begun.then(() => 'begun'), agent.died.then(() => 'died')])
    // two nodes, the server, the transaction, two exports: the seventh never comes
    expect({ at, outcome, count: seen.count }).toEqual(
      at <= 6 ? { at, outcome: 'died', count: at } : { at, outcome: 'begun', count: 6 },
    )
    await agent[Symbol.asyncDispose]()
    await settleAll(bench, 'failed')
    await expectClean(bench, untouched)
  }
})

test('death at any command of a first begin, which makes size marks', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 1))
  const untouched = await bench.objects()
  for (const [at, moment] of [
    [3, 'before'],
    [3, 'after'],
    [4, 'after'],
    [5, 'before'],
    [5, 'after'],
    [6, 'after'],
    [7, 'after'],
    [8, 'before'],
  ] as const) {
    const { dies, seen } = counter(at, moment)
    await using agent = await bench.agent({ dies })
    const begun = agent.driver.begin(bench.request())
    const outcome = await Promise.race([begun.then(() => 'begun'), agent.died.then(() => 'died')])
    // a node, the server; a node, a bitmap and an export for the mark; the transaction, an export
    expect({ at, outcome, count: seen.count }).toEqual(
      at <= 7 ? { at, outcome: 'died', count: at } : { at, outcome: 'begun', count: 7 },
    )
    await agent[Symbol.asyncDispose]()
    await settleAll(bench, 'failed')
    await expectClean(bench, untouched)
  }
})

test.each(['committed', 'failed'] as const)('death at any command of an end as %s', async (outcome) => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 2))
  const bare = (await bench.objects()) as object
  let base = null
  for (const at of [1, 3, 4, 6, 8, 10]) {
    for (const moment of ['before', 'after'] as const) {
      let ending = false
      const { dies } = counter(at, moment)
      await using agent = await bench.agent({ dies: (command) => (ending ? dies(command) : null) })
      const lease = await agent.driver.begin(bench.request({ base }))
      ending = true
      await Promise.race([lease.end(outcome), agent.died])
      await agent[Symbol.asyncDispose]()
      // what was journalled holds, whatever is said later
      await settleAll(bench, outcome === 'committed' ? 'failed' : 'committed')
      const bitmaps = outcome === 'committed' ? checkpointsOf(lease.id, ['vda', 'vdb']) : []
      await expectClean(bench, { ...bare, bitmaps })
      base = outcome === 'committed' ? asBase(lease) : null
    }
  }
})

test('QEMU gone: the entry stays while bitmaps may remain in an image, and is settled at the next begin', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 1))
  await using agent = await bench.agent()
  const untouched = await bench.objects()
  const lease = await agent.driver.begin(bench.request())
  await bench.machine.quit()
  expect(await lease.lost).toMatchObject({ code: 'LEASE_LOST' })
  await expect(lease.end('failed')).rejects.toMatchObject({ code: 'QMP_UNAVAILABLE' })
  expect(await agent.journal.list()).toMatchObject([{ id: lease.id, phase: 'ending', outcome: 'failed' }])
  expect(existsSync(folder.join('state', 'scratch', lease.id))).toBe(false)

  await bench.machine.start()
  expect(await bench.objects()).toMatchObject({ bitmaps: checkpointsOf(lease.id, ['vda']) })
  const next = await agent.driver.begin(bench.request())
  await next.end('failed')
  await expectClean(bench, untouched)
})

test('QEMU gone: nothing can remain in a raw image, so the lease is over', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(1, 2))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await bench.machine.kill9()
  await lease.end('failed')
  expect(await agent.journal.list()).toEqual([])
})

test('a machine that has moved keeps its bitmaps, and is settled when it is back', async () => {
  await using folder = await tempFolder()
  const disks = threeDisks(folder.path).slice(0, 2)
  await using bench = await startBench(folder.path, disks)
  const { control } = bench.machine
  const untouched = await bench.objects()
  const removal = (command: string): Moment | null => (command === 'block-dirty-bitmap-remove' ? 'before' : null)
  {
    await using agent = await bench.agent({ dies: removal })
    const lease = await agent.driver.begin(bench.request())
    void lease.end('failed')
    await agent.died
  }
  await mkdir(folder.join('there'))
  await using there = new TestMachine({ folder: folder.join('there'), disks })
  const uri = `unix:${folder.join('migration')}`
  await there.start({ extra: ['-incoming', uri] })
  await control.execute('cont')
  await control.execute('migrate', { uri })
  const isAway = async () => ((await control.execute('query-status')) as { status: unknown }).status === 'postmigrate'
  await eventually(isAway)
  const away = await bench.objects()

  await using agent = await bench.agent()
  for (let attempt = 0; attempt < 2; attempt += 1) {
    const [entry] = await agent.journal.list()
    await expect(agent.driver.settle(entry!, 'failed')).rejects.toMatchObject({
      code: 'MACHINE_MOVING',
      message: expect.stringMatching(/cannot be removed now: it has moved to another host/),
    })
    expect(await agent.journal.list()).toMatchObject([{ id: entry!.id, phase: 'ending', outcome: 'failed' }])
    expect(await bench.objects()).toEqual(away)
  }
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({ code: 'MACHINE_MOVING' })

  await there.quit()
  await control.execute('cont')
  const [entry] = await agent.journal.list()
  expect((await bench.objects()) as object).toMatchObject({ bitmaps: checkpointsOf(entry!.id, ['vda', 'vdb']) })
  await agent.driver.settle(entry!, 'failed')
  await expectClean(bench, untouched)
})

test('a guest that a killed agent left frozen is thawed', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 1))
  bench.guestAgent = folder.join('qga')
  await using guest = await ScriptedGuestAgent.listen(bench.guestAgent)
  await using agent = await bench.agent({ dies: (command) => (command === 'transaction' ? 'before' : null) })
  void agent.driver.begin(bench.request({ consistency: 'freeze' }))
  await agent.died
  expect(guest.frozen).toBe(true)
  await settleAll(bench, 'failed')
  expect(guest.frozen).toBe(false)
})

test('an unsettled lease is in the way of a new one', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 1))
  {
    await using agent = await bench.agent({ dies: (command) => (command === 'nbd-server-start' ? 'after' : null) })
    void agent.driver.begin(bench.request())
    await agent.died
  }
  await using agent = await bench.agent()
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({ code: 'LEASE_HELD' })
  const [entry] = await agent.journal.list()
  if (entry === undefined) throw new Error('the journal is empty')
  expect(await agent.driver.adopt(entry)).toBe(null)
  await agent.driver.settle(entry, 'failed')
  const lease = await agent.driver.begin(bench.request())
  await lease.end('failed')
})
