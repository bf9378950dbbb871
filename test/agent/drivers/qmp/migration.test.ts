// A machine that moves to another host while its bitmaps record: two real QEMUs, and an agent beside each of them.
import { expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { asBase, dirtyRanges, MIB } from '../../../support/lease.ts'
import {
  bitmapsOf,
  committed,
  expectContent,
  migrationOf,
  OTHER,
  pairOf,
  reasons,
  type Pair,
} from '../../../support/moving-pair.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

const KIB64 = 64 * 1024

const WRITTEN = [
  { offset: MIB, length: KIB64 },
  { offset: 3 * MIB, length: KIB64 },
]

/** A checkpoint here, a write of each disk before the move and one after it. */
const move = async ({ here, there, begin, arrived }: Pair): Promise<Lease> => {
  for (const { name } of [{ name: 'vda' }, { name: 'vdb' }]) await here.write(name, 0x11, 0, 4 * MIB)
  const first = await committed(here)
  for (const name of ['vda', 'vdb']) await here.write(name, 0x22, MIB, KIB64)
  await begin()
  await arrived()
  for (const name of ['vda', 'vdb']) await there.write(name, 0x33, 3 * MIB, KIB64)
  return first
}

test('with the machine’s bitmaps the other host’s agent makes an increment, and its own chain goes on', async () => {
  await using folder = await tempFolder()
  await using pair = await pairOf(folder, { bitmaps: true })
  const { there } = pair
  const first = await move(pair)
  expect((await bitmapsOf(there)).filter(({ inconsistent }) => inconsistent)).toEqual([])
  await using agent = await there.agent()
  const second = await agent.driver.begin(there.request({ agentId: OTHER, base: asBase(first) }))
  expect(reasons(second)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  for (const disk of second.disks) expect(await dirtyRanges(disk)).toEqual(WRITTEN)
  await expectContent(there, second)
  await second.end('committed')
  // nothing of the first host's agent is left
  const names = (await bitmapsOf(there)).map(({ name }) => name)
  expect(names.toSorted()).toEqual([0, 1].map((index) => `varve-0badcafe-cp-${second.id}-${index}`))
  await there.write('vda', 0x44, 0, KIB64)
  const third = await agent.driver.begin(there.request({ agentId: OTHER, base: asBase(second, OTHER) }))
  expect(reasons(third)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  expect(await dirtyRanges(third.disks[0]!)).toEqual([{ offset: 0, length: KIB64 }])
  await expectContent(there, third)
  await third.end('failed')
})

test('without them a stored bitmap comes with the image, and a disk that cannot have one is full as moved', async () => {
  await using folder = await tempFolder()
  await using pair = await pairOf(folder, { bitmaps: false })
  const { there } = pair
  const first = await move(pair)
  expect((await bitmapsOf(there)).filter(({ inconsistent }) => inconsistent)).toEqual([])
  await using agent = await there.agent()
  const second = await agent.driver.begin(there.request({ agentId: OTHER, base: asBase(first) }))
  expect(reasons(second)).toEqual(['vda incremental bitmap', 'vdb full moved'])
  expect(await dirtyRanges(second.disks[0]!)).toEqual(WRITTEN)
  await expectContent(there, second)
  await second.end('committed')
})

test('on storage of its own an image continues with the bitmaps that came, and a raw disk is another file', async () => {
  await using folder = await tempFolder()
  await using pair = await pairOf(folder, { bitmaps: true, copied: true })
  const { there } = pair
  const first = await move(pair)
  await using agent = await there.agent()
  const second = await agent.driver.begin(there.request({ agentId: OTHER, base: asBase(first) }))
  expect(reasons(second)).toEqual(['vda incremental bitmap', 'vdb full backing-changed'])
  expect(await dirtyRanges(second.disks[0]!)).toEqual(WRITTEN)
  await expectContent(there, second)
  await second.end('committed')
})

test('a backup is refused while its machine moves, and where it was, and the move goes on', async () => {
  await using folder = await tempFolder()
  await using pair = await pairOf(folder, { bitmaps: true })
  const { here, there } = pair
  const first = await committed(here)
  await using agent = await here.agent()
  const { control } = here.machine
  await pair.begin(4096)
  await eventually(async () => (await migrationOf(here.machine)) === 'active')
  const begin = () => agent.driver.begin(here.request({ base: asBase(first) }))
  await expect(begin()).rejects.toMatchObject({ code: 'MACHINE_MOVING', message: expect.stringMatching(/is moving/) })
  await control.execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 30 })
  await pair.arrived()
  await expect(begin()).rejects.toMatchObject({
    code: 'MACHINE_MOVING',
    message: expect.stringMatching(/has migrated to another host.*back it up on the host where it runs/),
  })
  expect(await agent.journal.list()).toEqual([])
  await using other = await there.agent()
  const second = await other.driver.begin(there.request({ agentId: OTHER, base: asBase(first) }))
  expect(reasons(second)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  await second.end('failed')
})

test('bitmaps that a crash left inconsistent keep it from moving with bitmaps until the next backup has removed them', async () => {
  await using folder = await tempFolder()
  await using pair = await pairOf(folder, { bitmaps: true })
  const { here } = pair
  const first = await committed(here)
  // stored at a clean end, and in use again
  await here.machine.quit()
  await here.machine[Symbol.asyncDispose]()
  await here.machine.start()
  process.kill(here.machine.pid, 'SIGKILL')
  await here.machine[Symbol.asyncDispose]()
  await here.machine.start()
  await here.machine.control.execute('cont')
  expect((await bitmapsOf(here)).map(({ inconsistent }) => inconsistent)).toEqual([true])
  await pair.begin()
  await eventually(async () => (await migrationOf(here.machine)) === 'failed')
  expect(here.machine.errors.join('')).toMatch(/Bitmap 'varve-.*' is inconsistent/)
  await using agent = await here.agent()
  const next = await agent.driver.begin(here.request({ base: asBase(first) }))
  expect(reasons(next)).toEqual(['vda full bitmap-inconsistent', 'vdb full bitmap-missing'])
  await next.end('committed')
  await pair.begin()
  await pair.arrived()
})
