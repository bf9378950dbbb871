// The qmp driver against a real QEMU, beyond what every driver must do: its bitmaps, what is in its way, scratch space, the
// guest.
import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { asVarveError, VarveError } from '../../../../protocol/errors.ts'
import type { Lease, LeaseBase, MachineConfig } from '../../../../agent/drivers/driver.ts'
import { listNodes } from '../../../../agent/qmp/disks.ts'
import { ScriptedGuestAgent } from '../../../support/guest-agent.ts'
import { MIB, asBase, dirtyRanges, startBench, threeDisks, type LeaseBench } from '../../../support/lease.ts'
import { AGENT_ID } from '../../../support/lease-stage.ts'
import { tempFolder } from '../../../support/temp.ts'

const reasons = (lease: Lease): Record<string, string> =>
  Object.fromEntries(lease.disks.map(({ name, reason }) => [name, reason]))

/** A committed full lease. */
const commitFull = async (bench: LeaseBench): Promise<LeaseBase> => {
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await lease.end('committed')
  return asBase(lease)
}

test('the reasons for a full read that QEMU’s bitmaps give', async () => {
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
  await bench.machine.restart()
  expect(await begin({})).toEqual({ vda: 'bitmap', vdb: 'bitmap-missing', vdc: 'bitmap' })

  const checkpoint = `varve-${AGENT_ID.slice(-8)}-cp-${base.checkpoint}-0`
  await bench.machine.control.execute('block-dirty-bitmap-disable', { node: 'vda', name: checkpoint })
  await bench.machine.control.execute('block_resize', { 'node-name': 'vdc', size: 5 * MIB })
  expect(await begin({})).toEqual({ vda: 'bitmap-disabled', vdb: 'bitmap-missing', vdc: 'size-changed' })
  await bench.machine.control.execute('block-dirty-bitmap-enable', { node: 'vda', name: checkpoint })
})

test('what lies behind a cut within a large cluster is read, whatever the granularity of the checkpoint before', async () => {
  await using folder = await tempFolder()
  const size = 8 * MIB
  const disks = [['vda', 2 * MIB] as const, ['vdb', 256 * 1024] as const].map(
    ([id, clusterBytes]) => ({ id, format: 'qcow2', file: folder.join(id), size, clusterBytes }) as const,
  )
  await using bench = await startBench(folder.path, disks)
  await using agent = await bench.agent()
  const { control } = bench.machine
  const granularities = async (lease: { readonly id: string }): Promise<number[]> => {
    const found = (await listNodes(control)).flatMap(({ bitmaps }) => bitmaps)
    return found
      .filter(({ name }) => name.includes(lease.id))
      .map(({ granularity }) => granularity)
      .toSorted((a, b) => b - a)
  }
  // a cut in the middle of each disk's last cluster, and a regrow
  const cut = async (): Promise<void> => {
    for (const { id, clusterBytes } of disks) {
      await control.execute('block_resize', { 'node-name': id, size: size - clusterBytes / 2 })
      await control.execute('block_resize', { 'node-name': id, size })
    }
  }
  const first = await agent.driver.begin(bench.request())
  expect(await granularities(first)).toEqual([2 * MIB, 256 * 1024])
  await first.end('committed')

  await bench.write('vda', 1, size - 512 * 1024, 64 * 1024)
  await bench.write('vdb', 2, size - 64 * 1024, 64 * 1024)
  await cut()
  const second = await agent.driver.begin(bench.request({ base: asBase(first) }))
  expect(Object.values(reasons(second))).toEqual(['bitmap', 'bitmap'])
  for (const disk of second.disks) {
    expect(await bench.content(disk)).toEqual(bench.snapshot().get(disk.name))
    // the one cluster, and no more
    const length = disk.name === 'vda' ? 2 * MIB : 256 * 1024
    expect(await dirtyRanges(disk)).toEqual([{ offset: size - length, length }])
  }
  await second.end('committed')

  // a checkpoint of an agent before this one, whose bitmaps were finer
  for (const [index, { id }] of disks.entries()) {
    const name = `varve-${AGENT_ID.slice(-8)}-cp-${second.id}-${index}`
    await control.execute('block-dirty-bitmap-remove', { node: id, name })
    await control.execute('block-dirty-bitmap-add', { node: id, name, persistent: true, granularity: 65_536 })
    await bench.write(id, 3, 65_536 * (index + 1), 4096)
  }
  const third = await agent.driver.begin(bench.request({ base: asBase(second) }))
  expect(Object.values(reasons(third))).toEqual(['bitmap', 'bitmap'])
  expect(await granularities(third)).toContain(2 * MIB)
  for (const [index, disk] of third.disks.entries())
    expect(await dirtyRanges(disk)).toEqual([{ offset: 65_536 * (index + 1), length: 65_536 }])
  await third.end('committed')
  await bench.write('vda', 4, size - 64 * 1024, 64 * 1024)
  await cut()
  const fourth = await agent.driver.begin(bench.request({ base: asBase(third) }))
  expect(await dirtyRanges(fourth.disks[0]!)).toEqual([{ offset: size - 2 * MIB, length: 2 * MIB }])
  for (const disk of fourth.disks) expect(await bench.content(disk)).toEqual(bench.snapshot().get(disk.name))
  await fourth.end('failed')
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

test('only a machine on whose monitor nobody listens, and whose disks are known, is one that is off', async () => {
  await using folder = await tempFolder()
  const disks = threeDisks(folder.path).slice(0, 1)
  await using bench = await startBench(folder.path, disks)
  await using agent = await bench.agent()
  const own = disks.map(({ id, file, format }) => ({ name: id, path: file, format }))
  const known = { ...bench.configured, keys: { ...bench.configured.keys, disks: own } }
  const asked = async (machine: MachineConfig) => {
    const error = await agent.driver.begin({ ...bench.request(), machine }).then(
      (lease) => lease.end('failed').then(() => new VarveError('INTERNAL', 'it runs')),
      (thrown: unknown) => asVarveError(thrown),
    )
    return await agent.driver.whenOff(machine, error)
  }
  expect(await asked(known)).toBeNull()
  expect(await agent.driver.look(known)).toMatchObject({ reachable: true, runState: 'prelaunch' })
  // another client has the monitor
  const held = new VarveError('QMP_UNAVAILABLE', 'held', { details: { held: true } })
  expect(await agent.driver.whenOff(known, held)).toBeNull()
  // one that runs, with its monitor elsewhere: the lock is there to refuse it
  const elsewhere = { ...known, address: '/nowhere', keys: { ...known.keys, qmp: folder.join('none') } }
  expect(await asked(elsewhere)).toMatchObject({ name: 'test', driver: 'offline', keys: { disks: own } })
  expect(await agent.driver.look(elsewhere)).toMatchObject({
    runState: 'in use',
    disks: [{ name: 'vda', size: 4 * MIB }],
  })
  await bench.machine.quit()
  expect(await asked(known)).toMatchObject({ driver: 'offline', exclude: [] })
  expect(await asked(bench.configured)).toBeNull()
  expect(await agent.driver.look(known)).toMatchObject({ reachable: true, runState: 'shut off', problem: null })
  expect(await agent.driver.look(bench.configured)).toMatchObject({ reachable: false })
})
