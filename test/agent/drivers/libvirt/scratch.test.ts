// Scratch space of a libvirt backup: given up before a guest write can fail, also while the agent is dead or hangs, and a guest
// that stopped for it goes on. Method: real domains; a small file system of its own where it must really be full.

import { mkdir, readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { LibvirtDomainState } from '../../../../agent/libvirt/types.ts'
import { Filler } from '../../../support/full-disk.ts'
import { MIB } from '../../../support/lease.ts'
import { startLibvirtGuest } from '../../../support/libvirt-guest.ts'
import { qcow2Disks, startLibvirtBench, type LibvirtBench } from '../../../support/libvirt-lease.ts'
import { run } from '../../../support/run.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

/** More than any file system has: the space is low for whoever looks. */
const NEVER_ENOUGH = 2 ** 60

const isBackingUp = async ({ libvirt, domain }: LibvirtBench): Promise<boolean> =>
  (await libvirt.control.jobStats(domain.domain)).type !== 'none'

/** Whatever became of the lease, the next agent leaves nothing of it. */
const expectSettled = async (bench: LibvirtBench, untouched: unknown): Promise<void> => {
  await using agent = await bench.agent()
  for (const entry of await agent.journal.list()) {
    expect(await agent.driver.adopt(entry)).toBe(null)
    await agent.driver.settle(entry, 'failed')
  }
  expect(await bench.remains()).toEqual(untouched)
}

test('low space ends the backup, and the lease with its reason', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  const untouched = await bench.remains()
  let free = 3 * MIB
  await using agent = await bench.agent({ reserveBytes: 2 * MIB, freeBytes: () => Promise.resolve(free) })
  const lease = await agent.driver.begin(bench.request())
  free = MIB
  expect(await lease.lost).toMatchObject({ code: 'SCRATCH_LOW' })
  await eventually(async () => !(await isBackingUp(bench)))
  await expect(lease.check()).rejects.toMatchObject({ code: 'SCRATCH_LOW' })
  await lease.end('failed')
  expect(await bench.remains()).toEqual(untouched)
})

test('while the agent is dead the guard ends the backup, and the guest goes on', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  const untouched = await bench.remains()
  await using victim = await bench.victim(bench.request(), NEVER_ENOUGH)
  expect(await isBackingUp(bench)).toBe(true)
  await victim.end('SIGKILL')
  await eventually(async () => !(await isBackingUp(bench)))
  await bench.write('vda', 0x33, 0, 4 * MIB)
  await expectSettled(bench, untouched)
})

test('beside an agent that hangs the guard ends the backup, and leaves the agent alone', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 2))
  const untouched = await bench.remains()
  await using victim = await bench.victim(bench.request(), NEVER_ENOUGH)
  // an agent that lives is left to do it itself
  await sleep(1_500)
  expect(await isBackingUp(bench)).toBe(true)
  victim.signal('SIGSTOP')
  await eventually(async () => !(await isBackingUp(bench)))
  expect(victim.running).toBe(true)
  await victim.end('SIGKILL')
  await expectSettled(bench, untouched)
})

test('a guest that stopped as the scratch space was full goes on when the backup is given up', async () => {
  await using folder = await tempFolder()
  const space = folder.join('state', 'scratch')
  await mkdir(space, { recursive: true })
  await run('mount', ['-t', 'tmpfs', '-o', 'size=16m,mode=711', 'tmpfs', space])
  try {
    const { bench, guest } = await startLibvirtGuest(folder.path)
    await using _libvirt = bench
    // nobody sees the space run low until the guest has stopped for it
    let free = NEVER_ENOUGH
    await using agent = await bench.agent({ reserveBytes: 1, freeBytes: () => Promise.resolve(free) })
    const { control } = bench.libvirt
    const lease = await agent.driver.begin(bench.request())
    using filler = new Filler(space)
    filler.fill()
    const state = (): Promise<LibvirtDomainState> => control.domainState(bench.domain.domain)
    await eventually(async () => (await state()).reason === 'io-error')
    expect(await control.diskErrors(bench.domain.domain)).toContainEqual({
      disk: expect.any(String),
      error: 'no-space',
    })
    free = 0
    expect(await lease.lost).toMatchObject({ code: 'SCRATCH_LOW' })
    await eventually(async () => (await state()).state === 'running')
    const said = guest.reports.length
    await guest.reported(said + 4)
    await lease.end('failed')
    filler[Symbol.dispose]()
    expect(await readdir(space)).toEqual([])
  } finally {
    await run('umount', ['--lazy', space])
  }
}, 180_000)
