// A libvirt domain that is off is an increment of its libvirt checkpoint, and its next run goes on with it: on a real libvirtd.
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { OfflineDriver } from '../../../../agent/drivers/offline/offline-driver.ts'
import { asVarveError } from '../../../../protocol/errors.ts'
import { asBase, dirtyRanges, MIB } from '../../../support/lease.ts'
import { qcow2Disks, startLibvirtBench, type LibvirtBench } from '../../../support/libvirt-lease.ts'
import { tempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

const expectExact = async (bench: LibvirtBench, lease: Lease): Promise<void> => {
  for (const disk of lease.disks)
    expect((await bench.content(disk)).equals(bench.model.get(disk.name)!), disk.name).toBe(true)
}

const read = (lease: Lease): string[] => lease.disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)

test('running under libvirt, off, running: one chain of increments', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  await using agent = await bench.agent()
  for (const disk of bench.disks) await bench.write(disk, 0x11, 0, MIB)
  const first = await agent.driver.begin(bench.request())
  await first.end('committed')
  const base = asBase(first)
  await bench.write('vdb', 0x22, MIB, KIB64)
  await bench.domain.destroy()

  const refusal = asVarveError(await agent.driver.begin(bench.request({ base })).catch((error: unknown) => error))
  const machine = await agent.driver.whenOff(bench.configured, refusal)
  if (machine === null) throw new Error('its disks are not known')
  await using offline = new OfflineDriver(agent.host, { runtimeFolder: join(folder.path, 'off') })
  const lease = await offline.begin(bench.request({ base, machine }))
  expect(read(lease)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  expect(await Promise.all(lease.disks.map(dirtyRanges))).toEqual([[], [{ offset: MIB, length: KIB64 }]])
  await expectExact(bench, lease)
  // libvirt cannot start it meanwhile, and what it tries changes nothing
  await expect(bench.start()).rejects.toThrow(/lock/u)
  await lease.check()
  await lease.end('committed')

  await bench.start()
  await bench.write('vda', 0x33, 2 * MIB, KIB64)
  const next = await agent.driver.begin(bench.request({ base }))
  expect(await Promise.all(next.disks.map(dirtyRanges))).toEqual([
    [{ offset: 2 * MIB, length: KIB64 }],
    [{ offset: MIB, length: KIB64 }],
  ])
  await expectExact(bench, next)
  await next.end('committed')
})
