// Leases of other programs on a domain of libvirt: bitmaps of their own beside those of backups. Method: a real libvirtd.
import { expect, test } from 'vitest'
import { TargetLeases } from '../../../agent/leases/target-leases.ts'
import type { HeldLease } from '../../../protocol/leases.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { asBase } from '../../support/lease.ts'
import { qcow2Disks, startLibvirtBench } from '../../support/libvirt-lease.ts'
import { run } from '../../support/run.ts'
import { tempFolder } from '../../support/temp.ts'

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined }

/** Chunks of 64 KiB that a lease marks as changed. */
const changedOf = async ({ disks: [disk] }: HeldLease): Promise<number[]> => {
  const { socket, exportName, changed } = disk!
  const text = await run('nbdinfo', [`--map=${changed}`, '--json', `nbd+unix:///${exportName}?socket=${socket}`])
  return (JSON.parse(text) as { offset: number; length: number; type: number }[])
    .filter(({ type }) => type !== 0)
    .flatMap(({ offset, length }) => Array.from({ length: length / 65_536 }, (_, index) => offset / 65_536 + index))
}

test('a target and a chain of backups of one domain each see what changed since their own last success', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1))
  await using agent = await bench.agent()
  const leases = new TargetLeases({
    machines: [bench.configured],
    driverOf: () => agent.driver,
    begin: (request) => agent.driver.begin(request),
    journal: agent.host.journal,
    stateFolder: bench.stateFolder,
    freezeTimeoutMs: 10_000,
    jobOf: () => null,
    clock: new HandClock(),
    log: quiet as never,
  })
  const order = { machine: 'test', target: 'a', ttlMs: 60_000, full: false, consistency: 'none' } as const
  const chunk = (index: number): Promise<void> => bench.write('vda', index + 1, index * 65_536, 65_536)
  const end = ({ lease }: HeldLease, success: boolean): Promise<void> => leases.end({ machine: 'test', lease, success })

  const backup = await agent.driver.begin(bench.request())
  await backup.end('committed')
  const first = await leases.begin(order)
  expect(first.disks.map(({ kind, reason }) => [kind, reason])).toEqual([['full', 'first']])
  await end(first, true)
  await chunk(1)
  const failed = await leases.begin(order)
  expect(await changedOf(failed)).toEqual([1])
  await end(failed, false)
  await chunk(3)
  const second = await agent.driver.begin(bench.request({ base: asBase(backup) }))
  expect(second.disks.map(({ kind, reason }) => [kind, reason])).toEqual([['incremental', 'bitmap']])
  await second.end('committed')
  const third = await leases.begin(order)
  expect([third.base?.lease, await changedOf(third)]).toEqual([first.lease, [1, 3]])
  await end(third, true)
  expect(await bench.recorded()).toHaveLength(2)
  await leases.remove({ machine: 'test', target: 'a' })
  expect(await bench.recorded()).toEqual([`varve-c0ffee42-cp-${second.id}`])
}, 120_000)
