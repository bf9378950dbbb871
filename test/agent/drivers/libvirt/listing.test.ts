// What a libvirt domain lists: others' checkpoints as libvirt has them, and ours, of which it is told for a moment only.
import { expect, test } from 'vitest'
import type { LeaseDriver } from '../../../../agent/drivers/driver.ts'
import type { Checkpoint } from '../../../../protocol/methods.ts'
import { asBase, MIB } from '../../../support/lease.ts'
import { checkpointOf, qcow2Disks, startLibvirtBench, type LibvirtBench } from '../../../support/libvirt-lease.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

const byName = (list: readonly Checkpoint[]): Record<string, string[]> =>
  Object.fromEntries(
    list.map(({ name, disks }) => [name, disks.map((disk) => `${disk.name} ${disk.health} ${disk.bytes}`)]),
  )

const list = async (bench: LibvirtBench, driver: LeaseDriver): Promise<Record<string, string[]>> =>
  byName((await driver.checkpoints(bench.configured)).checkpoints)

const theirs = async (bench: LibvirtBench, name: string): Promise<void> => {
  const spec = ['--diskspec', 'vda,checkpoint=bitmap', '--diskspec', 'vdb,checkpoint=no']
  await bench.libvirt.virsh('checkpoint-create-as', bench.domain.name, name, ...spec)
}

test('a tree of others and ours beside it, sizes while it runs, images while it is off, and libvirt’s list as it was', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  await using agent = await bench.agent()
  expect(await agent.driver.checkpoints(bench.configured)).toEqual({ checkpoints: [], omitted: 0 })
  await theirs(bench, 'one')
  await bench.write('vda', 0x11, 0, KIB64)
  await theirs(bench, 'two')
  const lease = await agent.driver.begin(bench.request())
  await lease.end('committed')
  await bench.write('vdb', 0x22, MIB, 3 * KIB64)
  const before = await bench.remains()
  const ours = checkpointOf(lease.id)
  const { checkpoints } = await agent.driver.checkpoints(bench.configured)
  expect(checkpoints[0]).toMatchObject({ name: ours, point: lease.id, own: true, parent: null, timeMs: null })
  expect(checkpoints.slice(1)).toMatchObject([
    { name: 'one', point: null, own: false, parent: null, timeMs: expect.any(Number) },
    { name: 'two', point: null, own: false, parent: 'one', timeMs: expect.any(Number) },
  ])
  expect(byName(checkpoints)).toEqual({
    [ours]: ['vda whole 0', `vdb whole ${3 * KIB64}`],
    one: [`vda whole ${KIB64}`],
    two: ['vda whole 0'],
  })
  expect(await bench.remains()).toEqual(before)
  const many = await Promise.all(Array.from({ length: 8 }, () => list(bench, agent.driver)))
  expect(new Set(many.map((one) => JSON.stringify(one))).size).toBe(1)
  // a backup that begins meanwhile waits for the look
  const [next] = await Promise.all([
    agent.driver.begin(bench.request({ base: asBase(lease) })),
    list(bench, agent.driver),
  ])
  expect(new Set(next.disks.map(({ kind }) => kind))).toEqual(new Set(['incremental']))
  expect(await list(bench, agent.driver)).toMatchObject({
    [ours]: ['vda unknown null', 'vdb unknown null'],
    one: ['vda unknown null'],
    [checkpointOf(next.id)]: ['vda unknown null', 'vdb unknown null'],
  })
  await next.end('failed')
  expect(await bench.remains()).toEqual(before)

  await bench.domain.destroy()
  expect(await list(bench, agent.driver)).toEqual({
    [ours]: ['vda whole null', 'vdb whole null'],
    one: ['vda whole null'],
    two: ['vda whole null'],
  })
  // an unclean end: what the images have stored was loaded, and is broken
  await bench.domain.start()
  await bench.kill()
  const broken = {
    [ours]: ['vda inconsistent null', 'vdb inconsistent null'],
    one: ['vda inconsistent null'],
    two: ['vda inconsistent null'],
  }
  expect(await eventually(() => list(bench, agent.driver).catch(() => null))).toEqual(broken)
  await bench.domain.start()
  expect(await list(bench, agent.driver)).toEqual(broken)
  expect(await bench.checkpoints()).toEqual(['one', 'two'])
})

test('an agent that dies while it looks leaves libvirt’s list to the next one, which clears it', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1))
  const first = await bench.agent()
  const lease = await first.driver.begin(bench.request())
  await lease.end('committed')
  await first[Symbol.asyncDispose]()
  const before = await bench.remains()
  for (const moment of ['before', 'after'] as const) {
    const dying = await bench.agent({ dies: () => moment })
    void dying.driver.checkpoints(bench.configured)
    await dying.died
    await dying[Symbol.asyncDispose]()
    expect(await bench.checkpoints()).toEqual(moment === 'after' ? [checkpointOf(lease.id)] : [])
    await using next = await bench.agent()
    next.driver.attach(bench.configured)
    await eventually(async () => (await bench.checkpoints()).length === 0)
    expect(await bench.remains()).toEqual(before)
    expect(await list(bench, next.driver)).toEqual({ [checkpointOf(lease.id)]: ['vda whole 0'] })
  }
})
