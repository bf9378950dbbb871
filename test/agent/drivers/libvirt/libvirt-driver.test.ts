// What is libvirt's own in a lease: formats without bitmaps, unclean ends, states of a domain, other users of the same one.
// Method: real domains of a real libvirtd, whose guest writes the test makes.

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lease, LeaseBase } from '../../../../agent/drivers/driver.ts'
import { xml } from '../../../../agent/libvirt/xml.ts'
import { asBase, dirtyRanges, MIB } from '../../../support/lease.ts'
import {
  checkpointOf,
  qcow2Disks,
  startLibvirtBench,
  type LibvirtBench,
  type LibvirtTestAgent,
} from '../../../support/libvirt-lease.ts'
import { run } from '../../../support/run.ts'
import { eventually, tempFolder, type TempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

const read = (lease: Lease): string[] => lease.disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)

const expectExact = async (bench: LibvirtBench, lease: Lease, at = bench.snapshot()): Promise<void> => {
  for (const disk of lease.disks)
    expect((await bench.content(disk)).equals(at.get(disk.name) ?? Buffer.alloc(0)), disk.name).toBe(true)
}

const committed = async (
  bench: LibvirtBench,
  { driver }: LibvirtTestAgent,
  base: LeaseBase | null = null,
): Promise<LeaseBase> => {
  const lease = await driver.begin(bench.request({ base }))
  await lease.end('committed')
  return asBase(lease)
}

const twoDisks = (folder: TempFolder) => qcow2Disks(folder.path, 2)

test('disks that hold no bitmap are read in full beside others that are incremental, in one backup', async () => {
  await using folder = await tempFolder()
  const old = { target: 'vdc', format: 'qcow2', file: folder.join('old.qcow2'), size: 4 * MIB } as const
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', old.file, String(old.size)])
  const raw = { target: 'vdb', format: 'raw', file: folder.join('b.raw'), size: 4 * MIB } as const
  await using bench = await startLibvirtBench(folder.path, [...qcow2Disks(folder.path, 1), raw, old])
  await using agent = await bench.agent()
  for (const disk of bench.disks) await bench.write(disk, 0x11, 0, KIB64)
  const first = await agent.driver.begin(bench.request())
  expect(read(first)).toEqual(['vda full first', 'vdb full first', 'vdc full first'])
  await expectExact(bench, first)
  await first.end('committed')
  for (const disk of bench.disks) await bench.write(disk, 0x22, MIB, KIB64)
  const next = await agent.driver.begin(bench.request({ base: asBase(first) }))
  expect(read(next)).toEqual(['vda incremental bitmap', 'vdb full no-bitmap', 'vdc full no-bitmap'])
  expect(await dirtyRanges(next.disks[0]!)).toEqual([{ offset: MIB, length: KIB64 }])
  await expectExact(bench, next)
  await next.end('committed')
  expect(await bench.recorded()).toEqual([checkpointOf(next.id)])
})

test('a machine whose disks are all raw has points without a checkpoint', async () => {
  await using folder = await tempFolder()
  const raw = { target: 'vda', format: 'raw', file: folder.join('a.raw'), size: 4 * MIB } as const
  await using bench = await startLibvirtBench(folder.path, [raw])
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  expect([lease.checkpoint, await bench.checkpoints()]).toEqual([false, []])
  await expectExact(bench, lease)
  await lease.end('committed')
})

test.each(['bitmap-missing', 'bitmap-inconsistent'] as const)(
  'after an unclean end one full read (%s), and the next is an increment again',
  async (reason) => {
    await using folder = await tempFolder()
    await using bench = await startLibvirtBench(folder.path, twoDisks(folder))
    await using agent = await bench.agent()
    const base = await committed(bench, agent)
    // what was stored at a clean end comes back as inconsistent, what is younger does not come back
    if (reason === 'bitmap-inconsistent') {
      await bench.domain.destroy()
      await bench.start()
    }
    await bench.kill()
    await bench.start()
    await bench.write('vda', 0x33, 0, KIB64)
    const full = await agent.driver.begin(bench.request({ base }))
    expect(read(full)).toEqual([`vda full ${reason}`, `vdb full ${reason}`])
    await expectExact(bench, full)
    await full.end('committed')
    expect(await bench.recorded()).toEqual([checkpointOf(full.id)])
    await bench.write('vda', 0x44, MIB, KIB64)
    const next = await agent.driver.begin(bench.request({ base: asBase(full) }))
    expect(read(next)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
    expect(await dirtyRanges(next.disks[0]!)).toEqual([{ offset: MIB, length: KIB64 }])
    await next.end('failed')
    expect([await bench.checkpoints(), await bench.recorded()]).toEqual([[], [checkpointOf(full.id)]])
  },
)

test('a clean stop and start goes on with the increments; while off the machine is refused, with its disks for the offline driver', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, twoDisks(folder))
  await using agent = await bench.agent()
  const base = await committed(bench, agent)
  await bench.write('vdb', 0x22, 0, KIB64)
  await bench.domain.destroy()
  const error = await agent.driver.begin(bench.request({ base })).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 'MACHINE_OFF', message: expect.stringContaining('start it') })
  const off = await agent.driver.whenOff(bench.configured, error as never)
  expect(off).toMatchObject({
    name: 'test',
    driver: 'offline',
    keys: { disks: bench.testDisks.map(({ target, file, format }) => ({ name: target, path: file, format })) },
  })
  expect(await agent.driver.identify(bench.configured)).toEqual({ uuid: bench.domain.domain.uuid, here: false })
  await bench.start()
  expect(await agent.driver.whenOff(bench.configured, error as never)).toBe(null)
  expect(await agent.driver.identify(bench.configured)).toMatchObject({ here: true })
  const lease = await agent.driver.begin(bench.request({ base }))
  expect(read(lease)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  expect(await Promise.all(lease.disks.map(dirtyRanges))).toEqual([[], [{ offset: 0, length: KIB64 }]])
  await expectExact(bench, lease)
  await lease.end('failed')
})

test('a domain that runs, is paused and resumed under its lease', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, twoDisks(folder))
  await bench.domain.resume()
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await bench.domain.suspend()
  await lease.check()
  await bench.domain.resume()
  await lease.check()
  await expectExact(bench, lease)
  await lease.end('committed')
})

test('a transient domain that is started again continues its checkpoint, of which libvirt has no notes any more', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, twoDisks(folder))
  await bench.domain.destroy()
  await bench.domain.undefine()
  bench.domain = await bench.libvirt.startTransient(bench.domain.options)
  await using agent = await bench.agent()
  const base = await committed(bench, agent)
  await bench.write('vda', 0x55, 2 * MIB, KIB64)
  await bench.domain.destroy()
  await expect(agent.driver.begin(bench.request({ base }))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  bench.domain = await bench.libvirt.startTransient(bench.domain.options)
  expect(await bench.checkpoints()).toEqual([])
  const lease = await agent.driver.begin(bench.request({ base }))
  expect(read(lease)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  expect(await dirtyRanges(lease.disks[0]!)).toEqual([{ offset: 2 * MIB, length: KIB64 }])
  await expectExact(bench, lease)
  await lease.end('committed')
  expect(await bench.recorded()).toEqual([checkpointOf(lease.id)])
})

test('libvirtd’s end and start does not end a lease; a backup that somebody else ends does', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, twoDisks(folder))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await bench.libvirt.restart('SIGKILL')
  await lease.check()
  await bench.write('vda', 0x11, 0, KIB64)
  await lease.check()
  await bench.libvirt.virsh('domjobabort', 'db1')
  expect(await lease.lost).toMatchObject({ code: 'LEASE_LOST', message: expect.stringContaining('backup has ended') })
  await lease.end('failed')
  expect(await bench.checkpoints()).toEqual([])
})

test('another’s backup and checkpoints are left alone, and the machine is refused while it runs', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, twoDisks(folder))
  await using agent = await bench.agent()
  const base = await committed(bench, agent)
  const { control } = bench.libvirt
  const theirs = folder.join('theirs')
  await run('mkdir', [theirs])
  await bench.libvirt.give(theirs)
  const backup = xml`<domainbackup mode="pull"><server transport="unix" socket="${join(theirs, 'nbd')}"/><disks><disk name="vda" backup="yes" type="file"><scratch file="${join(theirs, 'scratch')}"/></disk><disk name="vdb" backup="no"/></disks></domainbackup>`
  const checkpoint = xml`<domaincheckpoint><name>theirs</name></domaincheckpoint>`
  await control.backupBegin(bench.domain.domain, backup.text, checkpoint.text)
  await expect(agent.driver.begin(bench.request({ base }))).rejects.toMatchObject({
    code: 'LEASE_HELD',
    message: expect.stringContaining('another backup is under way'),
  })
  expect(await control.backupXml(bench.domain.domain)).toContain(theirs)
  await control.abortJob(bench.domain.domain)
  await eventually(async () => (await control.jobStats(bench.domain.domain)).type === 'none')
  await bench.write('vda', 0x77, 0, KIB64)
  const lease = await agent.driver.begin(bench.request({ base }))
  expect(await dirtyRanges(lease.disks[0]!)).toEqual([{ offset: 0, length: KIB64 }])
  await lease.end('committed')
  expect(await bench.checkpoints()).toEqual(['theirs'])
  expect(await bench.recorded()).toEqual([checkpointOf(lease.id)])
  const { removed, left } = await agent.driver.forget(bench.configured, 'vda')
  expect([removed.map(({ node }) => node), left]).toEqual([['vda'], []])
  const split = await agent.driver.begin(bench.request({ base: asBase(lease) }))
  expect(read(split)).toEqual(['vda full bitmap-missing', 'vdb incremental bitmap'])
  await split.end('failed')
  expect(await bench.checkpoints()).toEqual(['theirs'])
  expect(await bench.recorded()).toEqual([checkpointOf(lease.id)])
})

test('a snapshot puts another file on top: a full read that says so, and increments of the other disks', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, twoDisks(folder))
  await using agent = await bench.agent()
  const base = await committed(bench, agent)
  const top = folder.join('top.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', top, String(4 * MIB)])
  await bench.libvirt.give(top)
  await bench.libvirt.virsh(
    'snapshot-create-as',
    'db1',
    's1',
    '--reuse-external',
    '--diskspec',
    `vda,file=${top}`,
    '--disk-only',
    '--no-metadata',
    '--diskspec',
    'vdb,snapshot=no',
  )
  await bench.domain.guestWrite('vda', 0x12, MIB, KIB64)
  bench.model.get('vda')!.fill(0x12, MIB, MIB + KIB64)
  const lease = await agent.driver.begin(bench.request({ base }))
  expect(read(lease)).toEqual(['vda full backing-changed', 'vdb incremental bitmap'])
  await expectExact(bench, lease)
  await lease.end('committed')
})

test('a domain that libvirt does not have, and drives that hold no disk of the machine', async () => {
  await using folder = await tempFolder()
  const iso = folder.join('iso.raw')
  await run('truncate', ['-s', '1M', iso])
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1), {
    devices: xml`<disk type="file" device="cdrom"><driver name="qemu" type="raw"/><source file="${iso}"/><target dev="sda" bus="sata"/><readonly/></disk><disk type="file" device="cdrom"><target dev="sdb" bus="sata"/></disk>`,
  })
  await using agent = await bench.agent()
  const nobody = { ...bench.configured, keys: { ...bench.configured.keys, domain: 'db2' } }
  await expect(agent.driver.begin({ ...bench.request(), machine: nobody })).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining('it has: db1'),
  })
  const lease = await agent.driver.begin(bench.request())
  expect(lease.disks.map(({ name }) => name)).toEqual(['vda'])
  expect(lease.leftOut).toEqual([{ name: 'sda', reason: 'read-only' }])
  await lease.end('failed')
  expect(await agent.driver.look(bench.configured)).toMatchObject({
    hypervisor: expect.stringMatching(/^QEMU \d+\.\d+\.\d+, libvirt \d+\.\d+\.\d+$/),
    runState: 'paused',
    leftOut: [{ name: 'sda', reason: 'read-only' }],
  })
})

test('a client that is still shaking hands with the NBD server when a backup ends does not stop the domain', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, twoDisks(folder))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  const { socketPath } = lease.disks[0]!
  const client = connect({ path: socketPath })
  await once(client, 'data')
  const ending = lease.end('failed')
  await eventually(() => !existsSync(socketPath))
  for (const disk of bench.disks) await bench.write(disk, 0x11, 0, KIB64)
  client.destroy()
  await ending
  await bench.write('vda', 0x22, 0, KIB64)
  const next = await agent.driver.begin(bench.request())
  await expectExact(bench, next)
  await next.end('failed')
})
