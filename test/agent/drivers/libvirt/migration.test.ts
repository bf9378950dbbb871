// A domain that moves between two libvirts. Goal: what the other host's agent reads is exact, is an increment where the bitmaps
// came along, and says `moved` where they did not; no backup begins while the domain moves, and none hinders the move. Method:
// two libvirtds with disks that both see, real live migrations between them, an agent with a driver at each.
import { chmod, mkdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { VarveError } from '../../../../protocol/errors.ts'
import { asBase, dirtyRanges, MIB } from '../../../support/lease.ts'
import { LibvirtBench, qcow2Disks } from '../../../support/libvirt-lease.ts'
import { qmpCommand } from '../../../support/libvirt-calls.ts'
import { startLibvirt, TestDomain, type TestLibvirt } from '../../../support/libvirt.ts'
import { eventually, tempFolder, type TempFolder } from '../../../support/temp.ts'

const OTHER_AGENT = 'beefcafe-0000-4000-8000-000000000000'

const KIB64 = 65_536

const startHost = async (folder: TempFolder, number: number): Promise<TestLibvirt> => {
  const own = folder.join(String(number))
  await mkdir(own)
  await chmod(folder.path, 0o755)
  // libvirt moves nothing to the host that it takes for itself
  const libvirtdConf = `host_uuid = "${number}1234567-89ab-cdef-0123-456789abcdef"\n`
  const libvirt = await startLibvirt({ folder: own, libvirtdConf })
  // the QEMU that leaves connects to a socket of the one that comes
  await libvirt.give(own)
  return libvirt
}

/** A bench for a machine that was another one's, with what its disks hold. */
const benchAt = (libvirt: TestLibvirt, domain: TestDomain, before?: LibvirtBench): LibvirtBench => {
  const bench = new LibvirtBench(libvirt.folder, libvirt, domain)
  for (const [disk, bytes] of before?.model ?? []) bench.model.set(disk, bytes)
  return bench
}

const read = (lease: Lease): string[] => lease.disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)

const expectExact = async (bench: LibvirtBench, lease: Lease): Promise<void> => {
  const at = bench.snapshot()
  for (const disk of lease.disks) expect((await bench.content(disk)).equals(at.get(disk.name)!), disk.name).toBe(true)
}

/** Two hosts, and on the first a domain with a committed point, and a write after it. */
const startStand = async (folder: TempFolder, running: boolean) => {
  const one = await startHost(folder, 1)
  const two = await startHost(folder, 2)
  const domain = await one.startDomain({ name: 'db1', disks: qcow2Disks(folder.path, 2) })
  if (running) await domain.resume()
  const here = benchAt(one, domain)
  const agent = await here.agent()
  await here.write('vda', 1, 0, MIB)
  const lease = await agent.driver.begin(here.request())
  await lease.end('committed')
  await here.write('vda', 2, MIB, KIB64)
  return {
    two,
    domain,
    here,
    agent,
    base: asBase(lease),
    [Symbol.asyncDispose]: async () => {
      await agent[Symbol.asyncDispose]()
      await two[Symbol.asyncDispose]()
      await one[Symbol.asyncDispose]()
    },
  }
}

test('the bitmaps of a running domain go with it: the other host’s agent reads an increment', async () => {
  await using folder = await tempFolder()
  await using stand = await startStand(folder, true)
  const { two, domain, here, base } = stand
  const there = benchAt(two, await domain.migrateTo(two), here)
  await using agent = await there.agent()
  await there.write('vdb', 3, 2 * MIB, KIB64)
  const lease = await agent.driver.begin(there.request({ base, agentId: OTHER_AGENT }))
  expect(read(lease)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  expect(await Promise.all(lease.disks.map(dirtyRanges))).toEqual([
    [{ offset: MIB, length: KIB64 }],
    [{ offset: 2 * MIB, length: KIB64 }],
  ])
  await expectExact(there, lease)
  await lease.end('committed')
  const back = benchAt(here.libvirt, await there.domain.migrateTo(here.libvirt), there)
  await back.write('vda', 4, 3 * MIB, KIB64)
  const again = await stand.agent.driver.begin(back.request({ base: asBase(lease, OTHER_AGENT) }))
  expect(read(again)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  expect(await dirtyRanges(again.disks[0]!)).toEqual([{ offset: 3 * MIB, length: KIB64 }])
  await expectExact(back, again)
  await again.end('committed')
})

test('a domain that arrives paused is read in full as its bitmaps are not loaded, and what is read after it runs is exact', async () => {
  await using folder = await tempFolder()
  await using stand = await startStand(folder, false)
  const { two, domain, here, base } = stand
  const there = benchAt(two, await domain.migrateTo(two), here)
  await using agent = await there.agent()
  const full = await agent.driver.begin(there.request({ base, agentId: OTHER_AGENT }))
  expect(read(full)).toEqual(['vda full moved', 'vdb full moved'])
  await expectExact(there, full)
  await full.end('committed')
  await there.domain.resume()
  await there.write('vda', 5, 2 * MIB, KIB64)
  const next = await agent.driver.begin(there.request({ base: asBase(full, OTHER_AGENT), agentId: OTHER_AGENT }))
  expect(read(next)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  expect(await dirtyRanges(next.disks[0]!)).toEqual([{ offset: 2 * MIB, length: KIB64 }])
  await expectExact(there, next)
  await next.end('committed')
})

test('while it moves no backup begins on either host, and the move goes on', async () => {
  await using folder = await tempFolder()
  await using stand = await startStand(folder, true)
  const { two, domain, here, agent, base } = stand
  const { control } = here.libvirt
  const moving = domain.migrateTo(two, { bandwidthMib: 1 })
  // what fails below is told before what the move then fails with
  moving.catch(() => undefined)
  await eventually(async () => (await qmpCommand(control, domain.domain, 'query-migrate')).status === 'active')
  // libvirt itself knows nothing slower than a MiB a second
  await qmpCommand(control, domain.domain, 'migrate-set-parameters', { 'max-bandwidth': 1024 })
  const refused = { code: 'MACHINE_MOVING', details: { machine: 'test' } }
  await expect(agent.driver.begin(here.request({ base }))).rejects.toMatchObject(refused)
  const coming = new TestDomain(two, domain.options, await two.control.domainByName('db1'))
  const there = benchAt(two, coming, here)
  await using other = await there.agent()
  await expect(other.driver.begin(there.request({ base, agentId: OTHER_AGENT }))).rejects.toMatchObject(refused)
  await qmpCommand(control, domain.domain, 'migrate-set-parameters', { 'max-bandwidth': 1024 ** 3 })
  const moved = await moving
  expect((await two.control.domainState(moved.domain)).state).toBe('running')
  const arrived = benchAt(two, moved, here)
  const lease = await other.driver.begin(arrived.request({ base, agentId: OTHER_AGENT }))
  await expectExact(arrived, lease)
  await lease.end('committed')
})

test('a domain does not move while it is backed up, and the backup goes on', async () => {
  await using folder = await tempFolder()
  await using stand = await startStand(folder, true)
  const { two, domain, here, agent, base } = stand
  const lease = await agent.driver.begin(here.request({ base }))
  const at = here.snapshot()
  // libvirt waits half a minute for the backup to end
  await expect(domain.migrateTo(two)).rejects.toThrow(/^Command failed: virsh .* migrate /)
  expect(await two.control.listAllDomains()).toEqual([])
  await here.write('vda', 6, 0, KIB64)
  expect((await here.content(lease.disks[0]!)).equals(at.get('vda')!)).toBe(true)
  await lease.check()
  await lease.end('committed')
  await expect(domain.migrateTo(two)).resolves.toMatchObject({ libvirt: two })
})

test('a domain that has moved away is not off here, though its definition stayed and its disks are in sight', async () => {
  await using folder = await tempFolder()
  await using stand = await startStand(folder, true)
  const { two, domain, here, agent, base } = stand
  await domain.migrateTo(two, { keeps: true })
  expect(await here.libvirt.control.domainState(domain.domain)).toMatchObject({ state: 'shut-off' })
  const refused = await agent.driver.begin(here.request({ base })).catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'MACHINE_MOVING', message: expect.stringContaining('another host') })
  // as one that had stopped between two looks
  const off = new VarveError('MACHINE_OFF', 'off')
  expect(await agent.driver.whenOff(here.configured, off)).toBe(null)
})
