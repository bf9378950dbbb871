// Forgetting: Varve's bitmaps go, of every agent and below snapshots where QEMU lets them; foreign ones stay.
import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { chainOf } from '../../../../agent/drivers/qmp/forget.ts'
import { startBench, threeDisks, type LeaseBench } from '../../../support/lease.ts'
import { tempFolder } from '../../../support/temp.ts'

const here = ({ configured }: LeaseBench) => configured

const bitmapsOf = async (bench: LeaseBench): Promise<readonly string[]> =>
  ((await bench.objects()) as { bitmaps: readonly string[] }).bitmaps

/** A checkpoint of a former agent and a bitmap that is not ours, on each disk. */
const addStrangers = async (bench: LeaseBench): Promise<void> => {
  for (const node of ['vda', 'vdb', 'vdc'])
    for (const name of ['varve-deadbeef-cp-0192aaaa-0', 'theirs'])
      await bench.machine.control.execute('block-dirty-bitmap-add', { node, name })
}

test('one disk or all of them, of this agent and of former ones; what is not ours stays', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await expect(agent.driver.forget(here(bench), null)).rejects.toMatchObject({ code: 'LEASE_HELD' })
  await lease.end('committed')
  await addStrangers(bench)
  expect(await bitmapsOf(bench)).toHaveLength(9)
  const one = await agent.driver.forget(here(bench), 'vdb')
  expect(one.removed.map(({ node }) => node)).toEqual(['vdb', 'vdb'])
  expect((await bitmapsOf(bench)).filter((name) => name.startsWith('vdb'))).toEqual(['vdb/theirs'])
  await expect(agent.driver.forget(here(bench), 'vdx')).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining('vda, vdb, vdc'),
  })
  expect((await agent.driver.forget(here(bench), null)).removed).toHaveLength(4)
  expect(await bitmapsOf(bench)).toEqual(['vda/theirs', 'vdb/theirs', 'vdc/theirs'])
  expect(await agent.driver.forget(here(bench), null)).toEqual({ removed: [], left: [] })
})

test('what a lease left that can never be settled, as the machine’s socket has moved, goes too', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const untouched = await bench.objects()
  const first = await bench.agent()
  await first.driver.begin(bench.request())
  await first[Symbol.asyncDispose]()
  await using agent = await bench.agent()
  const [entry] = await agent.journal.list()
  const moved = folder.join('moved.sock')
  await agent.journal.write({ ...entry!, machine: { ...entry!.machine, address: moved, keys: { qmp: moved } } })
  await agent.driver.forget(here(bench), null)
  expect(await bench.objects()).toEqual(untouched)
  expect(await agent.journal.list()).toEqual([])
  expect(await readdir(folder.join('state', 'scratch'))).toEqual([])
  expect(await readdir(folder.join('run'))).toEqual([])
})

test('leases of a former agent without a journal go too', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const untouched = await bench.objects()
  const first = await bench.agent()
  const lease = await first.driver.begin(bench.request())
  await first.journal.remove(lease.id)
  await first[Symbol.asyncDispose]()
  await using agent = await bench.agent()
  await agent.driver.forget(here(bench), null)
  expect(await bench.objects()).toEqual(untouched)
  expect(await readdir(folder.join('run'))).toEqual([])
})

test('below a snapshot: removed where QEMU lets it, else named with its image', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await lease.end('committed')
  // as agents of before made it
  const older = { name: `varve-c0ffee42-size-${lease.id}-0`, persistent: true, disabled: true }
  await bench.machine.control.execute('block-dirty-bitmap-add', { node: 'vda', ...older })
  for (const node of ['vda', 'vdb']) {
    const snapshot = { 'snapshot-file': folder.join(`${node}-top.qcow2`), 'snapshot-node-name': `${node}-top` }
    await bench.machine.control.execute('blockdev-snapshot-sync', { 'node-name': node, format: 'qcow2', ...snapshot })
  }
  const { removed, left } = await agent.driver.forget(here(bench), null)
  expect([...removed, ...left].map(({ node }) => node).toSorted()).toEqual(['vda', 'vda', 'vdb', 'vdc'])
  expect(await bitmapsOf(bench)).toEqual(left.map(({ node, bitmap }) => `${node}/${bitmap}`).toSorted())
  // stored bitmaps of a node that QEMU has made read-only
  expect(left.toSorted((one, other) => one.bitmap.localeCompare(other.bitmap))).toEqual(
    ['-cp-', '-size-'].map((kind) => ({
      node: 'vda',
      bitmap: expect.stringContaining(kind),
      file: folder.join('a.qcow2'),
      reason: expect.stringContaining('readonly'),
    })),
  )
})

test('a machine without checkpoints can go back to an internal snapshot again', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path).slice(0, 1))
  await using agent = await bench.agent()
  const monitor = (line: string) =>
    bench.machine.control.execute('human-monitor-command', { 'command-line': line }) as Promise<string>
  expect(await monitor('savevm before')).toBe('')
  const lease = await agent.driver.begin(bench.request())
  await lease.end('committed')
  expect(await monitor('loadvm before')).toContain('active dirty bitmaps')
  await agent.driver.forget(here(bench), null)
  expect(await monitor('loadvm before')).toBe('')
})

test('a chain is followed by the files of its nodes, and ends', () => {
  const node = (name: string, file: string, backing = '') => ({
    'node-name': name,
    file,
    backing_file: backing,
    'dirty-bitmaps': [],
  })
  const nodes = [node('top', 'c', 'b'), node('mid', 'b', 'a'), node('base', 'a', 'b'), node('other', 'x', 'y')]
  expect([...chainOf(nodes, 'top')]).toEqual(['top', 'mid', 'base'])
})
