// A lease that begins while somebody else changes the machine's disks: exact at its instant, or not begun at all.

import { expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { LeaseBench, MIB, asBase, startBench } from '../../../support/lease.ts'
import { run } from '../../../support/run.ts'
import { tempFolder } from '../../../support/temp.ts'

/** Commands of a begin before its transaction, by how often each was sent before. */
const MOMENTS = [
  ['query-block', 0],
  ['query-named-block-nodes', 1],
  ['query-version', 0],
  ['query-block', 1],
  ['blockdev-add', 0],
  ['blockdev-add', 1],
  ['nbd-server-start', 0],
  ['transaction', 0],
] as const

type Change = (bench: LeaseBench, count: number) => Promise<void>

const CHANGES: Readonly<Record<string, Change>> = {
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

test.each(Object.keys(CHANGES))('%s, before any command of a begin', async (change) => {
  for (const [moment, earlier] of MOMENTS) {
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
})

test('disks that never stay as they are end the begin with a sentence, and nothing is left', async () => {
  await using folder = await tempFolder()
  const disk = { id: 'vda', format: 'raw', file: folder.join('a.raw'), size: 4 * MIB } as const
  await using bench = await startBench(folder.path, [disk])
  let size = 4 * MIB
  await using agent = await bench.agent({
    before: async (command) => {
      if (command !== 'query-version') return
      size += MIB
      await bench.machine.control.execute('block_resize', { 'node-name': 'vda', size })
    },
  })
  const untouched = await bench.objects()
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({
    code: expect.stringMatching(/^(LEASE_HELD|QMP_ERROR)$/u),
  })
  expect(await bench.objects()).toEqual(untouched)
  expect(await agent.journal.list()).toEqual([])
})

test.each(['throttle', 'copy-on-read'])('a disk below a %s filter whose guest writes all the time', async (driver) => {
  await using folder = await tempFolder()
  const image = { driver: 'qcow2', file: { driver: 'file', filename: folder.join('a.qcow2') } }
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', image.file.filename, String(4 * MIB)])
  const limits = driver === 'throttle' ? { 'throttle-group': 'group' } : {}
  const filter = JSON.stringify({ driver, 'node-name': 'filter', ...limits, file: image })
  await using bench = new LeaseBench(folder.path, [])
  bench.model.set('vda', Buffer.alloc(4 * MIB))
  await bench.machine.start({
    extra: ['-object', 'throttle-group,id=group', '-blockdev', filter, '-device', 'virtio-blk-pci,drive=filter,id=vda'],
  })
  const sent: string[] = []
  await using agent = await bench.agent({
    before: async (command) => {
      sent.push(command)
      if (command === 'nbd-server-start') await bench.write('vda', sent.length, 2 * MIB, 65_536)
    },
  })
  const first = await agent.driver.begin(bench.request())
  await first.end('committed')
  await bench.write('vda', 0x22, MIB, 65_536)
  const lease = await agent.driver.begin(bench.request({ base: asBase(first) }))
  const [disk] = lease.disks
  // what was written around the filter meanwhile is in no bitmap of it
  expect(disk).toMatchObject({ kind: 'full', reason: 'checkpoint-mismatch' })
  expect((await bench.content(disk!)).equals(bench.model.get('vda')!)).toBe(true)
  await lease.end('committed')
  expect(sent.filter((command) => command === 'transaction')).toHaveLength(2)
})
