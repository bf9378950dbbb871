// A libvirt machine that is off: its disks are read by the driver `offline`, and its increments go on. Method: the agent's own
// choice of drivers over a real domain that is stopped and started.

import { expect, test } from 'vitest'
import type { Lease, LeaseBase } from '../../../../agent/drivers/driver.ts'
import { Drivers } from '../../../../agent/drivers/registry.ts'
import { asBase, dirtyRanges, MIB } from '../../../support/lease.ts'
import { qcow2Disks, startLibvirtBench } from '../../../support/libvirt-lease.ts'
import { tempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

test('running, off, off again, running: each an increment of the same checkpoint, and exact', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  const { host } = await bench.agent()
  await using drivers = await Drivers.open(host)
  const begin = (base: LeaseBase | null): Promise<Lease> => drivers.begin(bench.request({ base }))
  const expectIncrement = async (lease: Lease, offsets: readonly number[]): Promise<void> => {
    expect(lease.disks.map(({ kind, reason }) => `${kind} ${reason}`)).toEqual(Array(2).fill('incremental bitmap'))
    const [ranges = []] = await Promise.all(lease.disks.map(dirtyRanges))
    expect(ranges.map(({ offset }) => offset)).toEqual(offsets)
    for (const disk of lease.disks)
      expect((await bench.content(disk)).equals(bench.snapshot().get(disk.name)!), disk.name).toBe(true)
  }
  const first = await begin(null)
  await first.end('committed')
  const base = asBase(first)
  await bench.write('vda', 0x11, 0, KIB64)
  await bench.domain.destroy()
  for (const _time of [1, 2]) {
    const off = await begin(base)
    expect(off.checkpoint).toBe(false)
    await expectIncrement(off, [0])
    await off.end('committed')
  }
  await bench.start()
  await bench.write('vda', 0x22, MIB, KIB64)
  const on = await begin(base)
  expect(on.checkpoint).toBe(true)
  await expectIncrement(on, [0, MIB])
  await on.end('committed')
  await bench.write('vda', 0x33, 2 * MIB, KIB64)
  const last = await begin(asBase(on))
  await expectIncrement(last, [2 * MIB])
  await last.end('failed')
})

test('what a machine that is off has of Varve is removed from its images', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await lease.end('committed')
  await bench.libvirt.virsh('checkpoint-create-as', 'db1', 'theirs', '--diskspec', 'vda,checkpoint=bitmap')
  await bench.domain.destroy()
  const { removed, left } = await agent.driver.forget(bench.configured, null)
  expect([removed.map(({ node }) => node), left]).toEqual([['vda', 'vdb'], []])
  await bench.start()
  expect([await bench.recorded(), await bench.checkpoints()]).toEqual([[], ['theirs']])
  const next = await agent.driver.begin(bench.request({ base: asBase(lease) }))
  expect(next.disks.map(({ reason }) => reason)).toEqual(['bitmap-missing', 'bitmap-missing'])
  await next.end('failed')
})
