// QEMU is killed at every step of a lease on disks that are read through snapshot access: the journal puts it right.
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { LeaseBase } from '../../../../agent/drivers/driver.ts'
import { asBase, LeaseBench, MIB, threeDisks } from '../../../support/lease.ts'
import { qemuMajor } from '../../../support/qemu.ts'
import { tempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

/** More steps than any lease has. */
const STEPS_MAX = 100

const isLook = (command: string): boolean => command.startsWith('query-') || command === 'qom-get'

/** Kills QEMU before the n-th command that changes something. */
const killer = (bench: LeaseBench, at: number) => {
  const seen = { steps: 0 }
  const before = async (command: string): Promise<void> => {
    if (!isLook(command) && ++seen.steps === at) await bench.machine.kill9()
  }
  return { seen, before }
}

test.each(qemuMajor() >= 9 ? (['on', 'off'] as const) : (['off'] as const))(
  'fleecing = "%s": nothing is left, and the next backup is whole',
  async (fleecing) => {
    await using folder = await tempFolder()
    await using bench = new LeaseBench(folder.path, threeDisks(folder.path).slice(0, 2))
    bench.fleecing = fleecing
    await bench.machine.start()
    // what is allocated already survives a QEMU that is killed
    for (const disk of ['vda', 'vdb']) await bench.write(disk, 0xee, 0, MIB)
    await bench.machine.restart()
    for (let at = 1, over = false; !over; at += 1) {
      expect(at).toBeLessThan(STEPS_MAX)
      let base: LeaseBase
      {
        await using agent = await bench.agent()
        const first = await agent.driver.begin(bench.request())
        await first.end('committed')
        base = asBase(first)
        // stores the bitmaps
        await bench.machine.restart()
      }
      await bench.write('vda', at, 0, KIB64)
      {
        const { seen, before } = killer(bench, at)
        await using agent = await bench.agent({ before })
        try {
          const lease = await agent.driver.begin(bench.request({ base }))
          await bench.write('vda', at + 1, 0, KIB64)
          await lease.end('failed')
        } catch {
          // the machine is gone
        }
        over = seen.steps < at
      }
      if (!over) await bench.machine.start()
      await using agent = await bench.agent()
      for (const entry of await agent.journal.list()) await agent.driver.settle(entry, 'failed')
      expect(await readdir(path.join(bench.stateFolder, 'leases'))).toEqual([])
      expect(await readdir(path.join(bench.stateFolder, 'scratch'))).toEqual([])
      const expected = bench.snapshot()
      const lease = await agent.driver.begin(bench.request({ base, full: true }))
      for (const disk of lease.disks) expect((await bench.content(disk)).equals(expected.get(disk.name)!)).toBe(true)
      await lease.end('failed')
      expect(await bench.objects()).toMatchObject({ exports: [], jobs: [] })
      await agent.driver.forget(bench.configured, null)
    }
  },
)
