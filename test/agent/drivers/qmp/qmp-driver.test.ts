// The qmp driver against a real QEMU, beyond what every driver must do: its bitmaps, what is in its way, scratch space, the
// guest.
import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { asVarveError, VarveError } from '../../../../protocol/errors.ts'
import type { Lease, LeaseBase, MachineConfig } from '../../../../agent/drivers/driver.ts'
import { ScriptedGuestAgent } from '../../../support/guest-agent.ts'
import { AGENT_ID, MIB, asBase, startBench, threeDisks, type LeaseBench } from '../../../support/lease.ts'
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
