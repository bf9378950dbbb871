// A libvirt domain that is off is an increment of its libvirt checkpoint, and its next run goes on with it: on a real libvirtd.
import { randomBytes } from 'node:crypto'
import { chmod, chown, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lease, LeaseDriver, MachineConfig } from '../../../../agent/drivers/driver.ts'
import { OfflineDriver } from '../../../../agent/drivers/offline/offline-driver.ts'
import { asVarveError } from '../../../../protocol/errors.ts'
import { asBase, dirtyRanges, MIB } from '../../../support/lease.ts'
import { qcow2Disks, startLibvirtBench, type LibvirtBench } from '../../../support/libvirt-lease.ts'
import { run } from '../../../support/run.ts'
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

const whenOff = async (bench: LibvirtBench, driver: LeaseDriver): Promise<MachineConfig> => {
  const refusal = asVarveError(await driver.begin(bench.request()).catch((error: unknown) => error))
  const machine = await driver.whenOff(bench.configured, refusal)
  if (machine === null) throw new Error('its disks are not known')
  return machine
}

test('of a domain of another user’s session nothing is read that this user may not read, neither disk nor what it lies on', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  await using agent = await bench.agent()
  await bench.domain.destroy()
  const { uid, gid } = bench.libvirt.owner!
  const [vda, vdb] = bench.testDisks.map(({ file }) => file) as [string, string]
  const machine = await whenOff(bench, agent.driver)
  expect(machine.keys).toMatchObject({ reader: { uid } })
  await using offline = new OfflineDriver(agent.host, { runtimeFolder: join(folder.path, 'off') })
  const refused = async (file: string): Promise<void> => {
    await expect(offline.begin(bench.request({ machine }))).rejects.toMatchObject({
      code: 'DISK_UNSUPPORTED',
      message: expect.stringMatching(new RegExp(`user ${uid}.* may not read ${file}.*\\[\\[machine\\]\\]`, 'u')),
    })
    expect(await agent.journal.list()).toEqual([])
  }

  // root's own, under the name that the user's libvirt has
  await chown(vdb, 0, 0)
  await chmod(vdb, 0o600)
  await refused(vdb)
  await expect(agent.driver.checkpoints(bench.configured)).rejects.toThrow(/Permission denied/u)
  await expect(agent.driver.forget(bench.configured, 'vdb')).rejects.toMatchObject({ code: 'DISK_UNSUPPORTED' })
  await chown(vdb, uid, gid)

  // the user's own image over a file of root's, and by a link
  const secret = folder.join('secret')
  await writeFile(secret, randomBytes(MIB), { mode: 0o600 })
  const over = async (...args: readonly string[]): Promise<void> => {
    await rm(vda)
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', ...args])
    await chown(vda, uid, gid)
  }
  await over('-b', secret, '-F', 'raw', vda, '1M')
  await refused(secret)
  await rm(vda)
  await symlink(secret, vda)
  await refused(vda)
  // content in another file, which only the storage daemon's own look into the image finds
  await over('-o', `data_file=${secret},data_file_raw=on`, vda, '1M')
  await chown(secret, 0, 0)
  await refused(secret)

  // what the user may read is read, and an agent after this one has the same lease
  await chmod(secret, 0o644)
  const lease = await offline.begin(bench.request({ machine }))
  expect(lease.disks).toHaveLength(2)
  const [entry] = await agent.journal.list()
  expect(entry!.machine.keys).toEqual(machine.keys)
  await offline[Symbol.asyncDispose]()
  await using later = new OfflineDriver(agent.host, { runtimeFolder: join(folder.path, 'off') })
  const adopted = await later.adopt(entry!)
  expect(adopted?.id).toBe(lease.id)
  await adopted!.check()
  await adopted!.end('failed')
  expect(await agent.journal.list()).toEqual([])
})
