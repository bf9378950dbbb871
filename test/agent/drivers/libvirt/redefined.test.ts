// A domain that is not the one it was: defined anew under its name, or its checkpoint's notes taken from libvirt by hand.
// Goal: what a lease left is removed all the same, and never keeps the machine from being backed up.

import { expect, test } from 'vitest'
import { LibvirtBench, checkpointOf, qcow2Disks, startLibvirtBench } from '../../../support/libvirt-lease.ts'
import { tempFolder } from '../../../support/temp.ts'

/** The same machine under the same name, with a uuid of its own. */
const defineAnew = async (bench: LibvirtBench): Promise<LibvirtBench> => {
  await bench.domain.destroy()
  await bench.libvirt.virsh('undefine', '--checkpoints-metadata', bench.domain.name)
  const domain = await bench.libvirt.startDomain(bench.domain.options)
  return new LibvirtBench(bench.folder, bench.libvirt, domain)
}

test('a lease of a domain that was defined anew is removed from its images by the next backup', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  const anew = await defineAnew(bench)
  expect(anew.domain.domain.uuid).not.toBe(bench.domain.domain.uuid)
  const entry = (await agent.journal.list())[0]!
  await expect(lease.end('failed')).rejects.toMatchObject({ code: 'MACHINE_OFF' })
  expect((await agent.journal.list()).map(({ id }) => id)).toEqual([entry.id])
  const next = await agent.driver.begin(anew.request())
  expect((await agent.journal.list()).map(({ id }) => id)).toEqual([next.id])
  await next.end('committed')
  expect(await anew.recorded()).toEqual([checkpointOf(next.id)])
})

test('what is to be forgotten of a domain that was defined anew is forgotten', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  const anew = await defineAnew(bench)
  await expect(lease.end('failed')).rejects.toMatchObject({ code: 'MACHINE_OFF' })
  await agent.driver.forget(anew.configured, null)
  expect([await agent.journal.list(), await anew.recorded()]).toEqual([[], []])
})

test('a lease of another domain, which had the name, stays with it', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await bench.domain.destroy()
  await expect(lease.end('failed')).rejects.toMatchObject({ code: 'MACHINE_OFF' })
  for (const { name } of await bench.libvirt.control.listCheckpoints(bench.domain.domain))
    await bench.libvirt.virsh('checkpoint-delete', '--metadata', bench.domain.name, name)
  await bench.libvirt.virsh('domrename', bench.domain.name, 'old')
  const disks = [{ target: 'vda', format: 'qcow2', file: folder.join('new.qcow2'), size: 1 << 22 } as const]
  const other = new LibvirtBench(
    bench.folder,
    bench.libvirt,
    await bench.libvirt.startDomain({ ...bench.domain.options, disks }),
  )
  const next = await agent.driver.begin(other.request())
  await next.end('committed')
  expect((await agent.journal.list()).map(({ id }) => id)).toEqual([lease.id])
})

test('bitmaps of a failed lease are removed also where its checkpoint is gone from libvirt’s list', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  await using agent = await bench.agent()
  const before = await bench.remains()
  const lease = await agent.driver.begin(bench.request())
  const [checkpoint] = await bench.libvirt.control.listCheckpoints(bench.domain.domain)
  await bench.libvirt.control.checkpointDelete(checkpoint!, { metadataOnly: true })
  await expect(lease.check()).rejects.toMatchObject({ code: 'LEASE_LOST' })
  await lease.end('failed')
  expect(await bench.remains()).toEqual(before)
})

test('a checkpoint that is gone from libvirt’s list is committed and continued', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  const [checkpoint] = await bench.libvirt.control.listCheckpoints(bench.domain.domain)
  await bench.libvirt.control.checkpointDelete(checkpoint!, { metadataOnly: true })
  await lease.end('committed')
  const next = await agent.driver.begin(bench.request())
  await next.end('committed')
  expect(await bench.recorded()).toEqual([checkpointOf(next.id)])
})
