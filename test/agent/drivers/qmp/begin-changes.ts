// Changes of a machine's disks in the middle of a begin, and what the lease has to be after each.
import { expect } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { MIB, asBase, startBench, type LeaseBench } from '../../../support/lease.ts'
import { tempFolder } from '../../../support/temp.ts'

/** A command, by how often it was sent before. */
type Moment = readonly [command: string, earlier: number]

type Change = (bench: LeaseBench, count: number) => Promise<void>

export const CHANGES: Readonly<Record<string, Change>> = {
  'an external snapshot, and a write to it': async (bench, count) => {
    const overlay = {
      'snapshot-file': `${bench.folder}/overlay${count}.qcow2`,
      'snapshot-node-name': `overlay${count}`,
    }
    await bench.machine.control.execute('blockdev-snapshot-sync', { 'node-name': 'vda', format: 'qcow2', ...overlay })
    await bench.write('vda', 0x77, MIB, 65_536)
  },
  'a larger disk, written at its new end': async (bench) => {
    await bench.machine.control.execute('block_resize', { 'node-name': 'vdb', size: 6 * MIB })
    bench.model.set('vdb', Buffer.concat([bench.model.get('vdb')!, Buffer.alloc(2 * MIB)]))
    await bench.write('vdb', 0x78, 5 * MIB, 65_536)
  },
  'a smaller disk that is as large as before again': async (bench) => {
    for (const size of [2 * MIB, 4 * MIB])
      await bench.machine.control.execute('block_resize', { 'node-name': 'vdb', size })
    bench.model.get('vdb')!.fill(0, 2 * MIB)
  },
}

const expectExact = async (bench: LeaseBench, lease: Lease): Promise<void> => {
  expect(lease.disks.map(({ name }) => name)).toEqual(['vda', 'vdb'])
  for (const disk of lease.disks)
    expect((await bench.content(disk)).equals(bench.model.get(disk.name)!), disk.name).toBe(true)
}

/** Makes the change before each of these commands of a begin, each time of a machine of its own. */
export const changedBefore = async (change: string, moments: readonly Moment[]): Promise<void> => {
  for (const [moment, earlier] of moments) {
    await using folder = await tempFolder()
    const disks = [
      { id: 'vda', format: 'qcow2', file: folder.join('a.qcow2'), size: 4 * MIB },
      { id: 'vdb', format: 'raw', file: folder.join('b.raw'), size: 4 * MIB },
    ] as const
    await using bench = await startBench(folder.path, disks)
    for (const { id } of disks) await bench.write(id, 0x11, 0, 3 * MIB)
    const seen = new Map<string, number>()
    let armed = false
    await using agent = await bench.agent({
      before: async (command) => {
        const count = seen.get(command) ?? 0
        seen.set(command, count + 1)
        if (!armed || command !== moment || count !== earlier) return
        armed = false
        // what the scratch nodes have pinned, QEMU itself refuses to change
        await CHANGES[change]!(bench, 0).catch(() => undefined)
      },
    })
    const base = await agent.driver.begin(bench.request())
    await base.end('committed')
    seen.clear()
    armed = true
    const lease = await agent.driver.begin(bench.request({ base: asBase(base) }))
    expect(armed, `${moment} ${earlier} was sent`).toBe(false)
    await expectExact(bench, lease)
    await lease.end('failed')
    expect(await agent.journal.list()).toEqual([])
  }
}
