// A lease that begins while somebody else changes the machine's disks: exact at its instant, or not begun at all.

import { expect, test } from 'vitest'
import { asBase, dirtyRanges, LeaseBench, MIB, startBench } from '../../../support/lease.ts'
import { run } from '../../../support/run.ts'
import { tempFolder } from '../../../support/temp.ts'
import { changedBefore, CHANGES } from './begin-changes.ts'

/** Before the disks are looked at again, between their scratch nodes, and last of all; begin-moments.test.ts has the others. */
const MOMENTS = [
  ['query-named-block-nodes', 1],
  ['blockdev-add', 1],
  ['transaction', 0],
] as const

test.each(Object.keys(CHANGES))('%s, in the middle of a begin', (change) => changedBefore(change, MOMENTS))

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
  // the bitmap is on the image below, so it has what was written meanwhile too
  expect(disk).toMatchObject({ kind: 'incremental', reason: 'bitmap' })
  expect(await dirtyRanges(disk!)).toEqual([MIB, 2 * MIB].map((offset) => ({ offset, length: 65_536 })))
  expect((await bench.content(disk!)).equals(bench.model.get('vda')!)).toBe(true)
  await lease.end('committed')
  expect(sent.filter((command) => command === 'transaction')).toHaveLength(2)
})
