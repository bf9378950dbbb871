// What a machine of the driver `qmp` lists: ours, other agents' and other programs', broken and disabled ones, on and off.
import { expect, test } from 'vitest'
import type { Checkpoint } from '../../../../protocol/methods.ts'
import { LeaseBench, threeDisks } from '../../../support/lease.ts'
import { tempFolder } from '../../../support/temp.ts'

const POINT = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214'

const byName = (list: readonly Checkpoint[]): Record<string, string[]> =>
  Object.fromEntries(
    list.map(({ name, disks }) => [name, disks.map((disk) => `${disk.name} ${disk.health} ${disk.bytes}`)]),
  )

test('bitmaps by their points and by name; one that was not stored at the end is inconsistent, also while it is off', async () => {
  await using folder = await tempFolder()
  const [first, second] = threeDisks(folder.path)
  await using bench = new LeaseBench(folder.path, [first!, second!])
  await bench.machine.start()
  await using agent = await bench.agent()
  const files = [first!, second!].map(({ id, format, file }) => ({ name: id, path: file, format }))
  const machine = { ...bench.configured, keys: { ...bench.configured.keys, disks: files } }
  const list = async (): Promise<Record<string, string[]>> =>
    byName((await agent.driver.checkpoints(machine)).checkpoints)
  expect(await list()).toEqual({})
  const add = async (name: string, more: object = {}): Promise<void> => {
    await bench.machine.control.execute('block-dirty-bitmap-add', { node: 'vda', name, persistent: true, ...more })
  }
  await add(`varve-deadbeef-cp-${POINT}-0`)
  await add('theirs')
  await add('still', { disabled: true })
  await bench.write('vda', 0x11, 0, 512)
  const theirs = `varve-deadbeef-cp-${POINT}`
  expect(await list()).toEqual({
    [theirs]: ['vda whole 65536', 'vdb missing null'],
    theirs: ['vda whole 65536'],
    still: ['vda disabled null'],
  })
  // an unclean end after a clean one: they were stored, and loaded
  await bench.machine.quit()
  const off = {
    [theirs]: ['vda whole null', 'vdb missing null'],
    theirs: ['vda whole null'],
    still: ['vda disabled null'],
  }
  expect(await list()).toEqual(off)
  await bench.machine.start()
  await bench.machine.kill9()
  const broken = {
    [theirs]: ['vda inconsistent null', 'vdb missing null'],
    theirs: ['vda inconsistent null'],
    still: ['vda inconsistent null'],
  }
  expect(await list()).toEqual(broken)
  await bench.machine.start()
  expect(await list()).toEqual(broken)
  const unknown = { ...bench.configured, keys: { qmp: folder.join('none.sock') } }
  await expect(agent.driver.checkpoints(unknown)).rejects.toMatchObject({ code: 'QMP_UNAVAILABLE' })
})
