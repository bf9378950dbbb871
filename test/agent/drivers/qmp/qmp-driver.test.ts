// The qmp driver against a real QEMU: exact content at one instant, nothing missed, and a reason for every full read.

import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Lease, LeaseBase } from '../../../../agent/drivers/driver.ts'
import { ScriptedGuestAgent } from '../../../support/guest-agent.ts'
import { AGENT_ID, MIB, asBase, checkpointsOf, dirtyRanges, startBench, threeDisks } from '../../../support/lease.ts'
import type { LeaseBench } from '../../../support/lease.ts'
import { tempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

const expectContent = async (bench: LeaseBench, lease: Lease, expected: ReadonlyMap<string, Buffer>): Promise<void> => {
  for (const disk of lease.disks) {
    expect((await bench.content(disk)).equals(expected.get(disk.name) ?? Buffer.alloc(0)), disk.name).toBe(true)
  }
}

const reasons = (lease: Lease): Record<string, string> =>
  Object.fromEntries(lease.disks.map(({ name, reason }) => [name, reason]))

/** A committed full lease. */
const commitFull = async (bench: LeaseBench): Promise<LeaseBase> => {
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await lease.end('committed')
  return asBase(lease)
}

test('full, incremental, failed and again incremental: exact at the instant, nothing missed, nothing left', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent()
  const untouched = await bench.objects()
  for (const disk of ['vda', 'vdb', 'vdc']) await bench.write(disk, 0x11, 0, 3 * KIB64)

  const atFull = bench.snapshot()
  const full = await agent.driver.begin(bench.request())
  expect(full).toMatchObject({ consistency: 'crash', consistencyNote: null })
  expect(full.disks.map(({ kind, reason, dirtyContext }) => ({ kind, reason, dirtyContext }))).toEqual(
    Array.from({ length: 3 }, () => ({ kind: 'full', reason: 'first', dirtyContext: null })),
  )
  for (const disk of ['vda', 'vdb', 'vdc']) {
    await bench.write(disk, 0x22, KIB64, KIB64)
    await bench.zero(disk, 2 * KIB64, KIB64)
  }
  await expectContent(bench, full, atFull)
  await full.check()
  await full.end('committed')

  const atFailed = bench.snapshot()
  const failed = await agent.driver.begin(bench.request({ base: asBase(full) }))
  expect(reasons(failed)).toEqual({ vda: 'bitmap', vdb: 'bitmap', vdc: 'bitmap' })
  for (const disk of failed.disks) {
    expect(await dirtyRanges(disk)).toEqual([{ offset: KIB64, length: 2 * KIB64 }])
  }
  for (const disk of ['vda', 'vdb', 'vdc']) await bench.write(disk, 0x33, MIB, KIB64)
  await expectContent(bench, failed, atFailed)
  await failed.end('failed')

  const atLast = bench.snapshot()
  const last = await agent.driver.begin(bench.request({ base: asBase(full) }))
  for (const disk of last.disks) {
    expect(await dirtyRanges(disk)).toEqual([
      { offset: KIB64, length: 2 * KIB64 },
      { offset: MIB, length: KIB64 },
    ])
  }
  await bench.write('vda', 0x44, 2 * MIB, 512)
  await expectContent(bench, last, atLast)
  await last.end('committed')

  const next = await agent.driver.begin(bench.request({ base: asBase(last) }))
  const changed = await Promise.all(next.disks.map(dirtyRanges))
  expect(changed).toEqual([[{ offset: 2 * MIB, length: KIB64 }], [], []])
  await next.end('failed')

  const bitmaps = checkpointsOf(last.id, ['vda', 'vdb', 'vdc'])
  expect(await bench.objects()).toEqual({ ...(untouched as object), bitmaps })
  expect(await agent.journal.list()).toEqual([])
  expect(await readdir(folder.join('state', 'scratch'))).toEqual([])
  expect(await readdir(folder.join('run'))).toEqual([])
  // QEMU had nothing to complain of
  expect(bench.machine.errors).toEqual([])
})

test('each reason for a full read, and the policy that refuses it', async () => {
  await using folder = await tempFolder()
  const disks = threeDisks(folder.path)
  await using bench = await startBench(folder.path, disks)
  const base = await commitFull(bench)
  const begin = async (options: Parameters<LeaseBench['request']>[0]): Promise<Record<string, string>> => {
    await using agent = await bench.agent()
    const lease = await agent.driver.begin(bench.request({ base, ...options }))
    await lease.end('failed')
    return reasons(lease)
  }
  expect(await begin({ full: true, exclude: ['vdb', 'vdc'] })).toEqual({ vda: 'requested' })

  await bench.machine.restart()
  expect(await begin({})).toEqual({ vda: 'bitmap', vdb: 'bitmap-missing', vdc: 'bitmap' })

  const checkpoint = `varve-${AGENT_ID.slice(-8)}-cp-${base.checkpoint}-0`
  await bench.machine.control.execute('block-dirty-bitmap-disable', { node: 'vda', name: checkpoint })
  await bench.machine.control.execute('block_resize', { 'node-name': 'vdc', size: 5 * MIB })
  expect(await begin({})).toEqual({ vda: 'bitmap-disabled', vdb: 'bitmap-missing', vdc: 'size-changed' })
  await bench.machine.control.execute('block-dirty-bitmap-enable', { node: 'vda', name: checkpoint })

  const untouched = await bench.objects()
  await using agent = await bench.agent()
  const refused = agent.driver.begin(bench.request({ base, refuseFull: ['bitmap-missing'] }))
  await expect(refused).rejects.toMatchObject({
    code: 'FULL_REFUSED',
    details: { disk: 'vdb', reason: 'bitmap-missing' },
  })
  expect(await bench.objects()).toEqual(untouched)
  expect(await agent.journal.list()).toEqual([])
})

test('after a crash of QEMU: inconsistent where it was stored, missing where it was not; both heal', async () => {
  await using folder = await tempFolder()
  const disks = threeDisks(folder.path)
  const vdd = { id: 'vdd', format: 'qcow2', file: folder.join('d.qcow2'), size: MIB } as const
  await using bench = await startBench(folder.path, disks)
  const base = await commitFull(bench)
  await bench.machine.restart()
  await bench.machine.kill9()
  await bench.machine.start({ disks: [...disks, vdd] })
  {
    await using agent = await bench.agent()
    const lease = await agent.driver.begin(bench.request({ base }))
    expect(reasons(lease)).toEqual({
      vda: 'bitmap-inconsistent',
      vdb: 'bitmap-missing',
      vdc: 'bitmap-inconsistent',
      vdd: 'disk-added',
    })
    await lease.end('committed')
    const again = await agent.driver.begin(bench.request({ base: asBase(lease) }))
    expect(Object.values(reasons(again))).toEqual(['bitmap', 'bitmap', 'bitmap', 'bitmap'])
    await again.end('committed')
    await bench.machine.kill9()
    await bench.machine.start()
    const lost = await agent.driver.begin(bench.request({ base: asBase(again) }))
    expect(new Set(Object.values(reasons(lost)))).toEqual(new Set(['bitmap-missing']))
    await lost.end('failed')
  }
})

test('what is not ours stays: bitmaps and nodes; an NBD server or a job in the way is named', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const { control } = bench.machine
  await control.execute('block-dirty-bitmap-add', { node: 'vda', name: 'theirs', persistent: true })
  await control.execute('block-dirty-bitmap-add', { node: 'vda', name: 'varve-deadbeef-cp-0192aaaa' })
  await control.execute('block-dirty-bitmap-add', { node: 'vda', name: 'varve-c0ffee42-cp-obsolete-0' })
  await control.execute('blockdev-add', { driver: 'null-co', 'node-name': 'their-node', size: 4 * MIB })
  await using agent = await bench.agent()
  const first = await agent.driver.begin(bench.request())
  await first.end('failed')
  const untouched = await bench.objects()
  expect(untouched).toMatchObject({ bitmaps: ['vda/theirs', 'vda/varve-deadbeef-cp-0192aaaa'] })

  await control.execute('nbd-server-start', { addr: { type: 'unix', data: { path: folder.join('theirs') } } })
  await control.execute('block-export-add', { type: 'nbd', id: 'their-export', 'node-name': 'vda' })
  const withServer = await bench.objects()
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({ code: 'NBD_SERVER_BUSY' })
  expect(await bench.objects()).toEqual(withServer)
  expect(existsSync(folder.join('theirs'))).toBe(true)
  await control.execute('nbd-server-stop')

  await control.execute('blockdev-backup', { 'job-id': 'their-job', device: 'vda', target: 'their-node', sync: 'none' })
  const withJob = await bench.objects()
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({ code: 'LEASE_HELD' })
  expect(await bench.objects()).toEqual(withJob)
  await control.execute('block-job-cancel', { device: 'their-job' })
})

test('one lease on a machine at a time, and ids that are no names', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 1))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({ code: 'LEASE_HELD' })
  await lease.end('failed')
  await expect(lease.check()).rejects.toMatchObject({ code: 'LEASE_LOST' })
  await expect(agent.driver.begin(bench.request({ leaseId: '../../etc' }))).rejects.toMatchObject({
    code: 'PARAMS_INVALID',
  })
  await expect(agent.driver.begin(bench.request({ exclude: ['vda'] }))).rejects.toMatchObject({
    code: 'DISK_UNSUPPORTED',
  })
})

test('too little scratch space refuses before anything is made', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent({ reserveBytes: 2 ** 60 })
  const untouched = await bench.objects()
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({ code: 'SCRATCH_LOW' })
  expect(await bench.objects()).toEqual(untouched)
})

test('frozen when the guest freezes; crash with a note, or no lease at all, when it does not', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent()
  const untouched = await bench.objects()
  await expect(agent.driver.begin(bench.request({ consistency: 'freeze-required' }))).rejects.toMatchObject({
    code: 'FREEZE_REQUIRED',
  })
  const without = await agent.driver.begin(bench.request({ consistency: 'freeze' }))
  expect(without).toMatchObject({ consistency: 'crash', consistencyNote: expect.stringContaining('no guest agent') })
  await without.end('failed')

  bench.guestAgent = folder.join('qga')
  const refused = await agent.driver.begin(bench.request({ consistency: 'freeze' }))
  expect(refused).toMatchObject({ consistency: 'crash', consistencyNote: expect.stringContaining('ENOENT') })
  await refused.end('failed')
  await expect(agent.driver.begin(bench.request({ consistency: 'freeze-required' }))).rejects.toMatchObject({
    code: 'FREEZE_REQUIRED',
  })

  await using guest = await ScriptedGuestAgent.listen(bench.guestAgent)
  const frozen = await agent.driver.begin(bench.request({ consistency: 'freeze-required' }))
  expect(frozen).toMatchObject({ consistency: 'frozen', consistencyNote: null })
  expect(guest.frozen).toBe(false)
  await frozen.end('failed')
  expect(await bench.objects()).toEqual(untouched)
})
