// The end of a lease where QEMU is gone, has moved, or its guest was left frozen.
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import type { LeaseOutcome } from '../../../../agent/drivers/driver.ts'
import { fromJournal } from '../../../../agent/drivers/qmp/entry.ts'
import { clearTheWay } from '../../../../agent/drivers/qmp/give-way.ts'
import { ScriptedGuestAgent } from '../../../support/guest-agent.ts'
import { checkpointsOf, MIB, startBench, threeDisks, type LeaseBench } from '../../../support/lease.ts'
import { TestMachine } from '../../../support/qemu.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

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
  const removal = (command: string) => (command === 'block-dirty-bitmap-remove' ? 'before' : null)
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
      message: expect.stringMatching(/cannot be removed now: it has migrated to another host/),
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

test('a client that is still shaking hands with the NBD server when a lease ends does not stop QEMU', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent()
  const { control } = bench.machine
  const untouched = await bench.objects()
  const lease = await agent.driver.begin(bench.request())
  const { socketPath } = lease.disks[0]!
  const client = connect({ path: socketPath })
  await once(client, 'data')
  const ending = lease.end('failed')
  // all that costs the guest anything goes at once, and nobody else can come; the server waits for the one that is there
  await eventually(async () => ((await control.execute('query-jobs')) as unknown[]).length === 0)
  await eventually(() => !existsSync(socketPath))
  expect(await control.execute('query-status')).toMatchObject({ status: 'prelaunch' })
  await bench.write('vda', 0x11, 0, MIB)
  client.destroy()
  await ending
  await expectClean(bench, untouched)
})

test('a lease that is ended twice at once, as when it gives way, ends', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent()
  const untouched = await bench.objects()
  const lease = await agent.driver.begin(bench.request())
  const entry = fromJournal((await agent.journal.list())[0]!)
  await Promise.all([clearTheWay(() => Promise.resolve(agent.client()), entry), lease.end('failed')])
  await expectClean(bench, untouched)
})
