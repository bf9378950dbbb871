// A machine that moves to another host while its bitmaps record: two real QEMUs, and an agent beside each of them.
import { copyFile, mkdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Lease } from '../../../../agent/drivers/driver.ts'
import { listNodes } from '../../../../agent/qmp/disks.ts'
import { asBase, dirtyRanges, LeaseBench, MIB } from '../../../support/lease.ts'
import type { TestDisk } from '../../../support/qemu.ts'
import { eventually, tempFolder, type TempFolder } from '../../../support/temp.ts'

/** The agent of the other host. */
const OTHER = '0192aaaa-0000-7000-8000-00000badcafe'

const KIB64 = 64 * 1024

interface Pair extends AsyncDisposable {
  readonly here: LeaseBench
  readonly there: LeaseBench
  /** Begins to move the machine, which runs. */
  begin(): Promise<void>
  /** Waits until it is there, and runs. */
  arrived(): Promise<void>
}

interface PairOptions {
  /** Bitmaps are moved with the machine (the capability `dirty-bitmaps` of both QEMUs). */
  readonly bitmaps: boolean
  /** The other host has storage of its own. */
  readonly copied?: boolean
}

const disksIn = (folder: string): readonly TestDisk[] => [
  { id: 'vda', format: 'qcow2', file: `${folder}/a.qcow2`, size: 4 * MIB },
  { id: 'vdb', format: 'raw', file: `${folder}/b.raw`, size: 4 * MIB },
]

const pairOf = async (folder: TempFolder, { bitmaps, copied = false }: PairOptions): Promise<Pair> => {
  await using resources = new AsyncDisposableStack()
  const storage = { here: folder.join('storage'), there: folder.join(copied ? 'copy' : 'storage') }
  for (const each of new Set([...Object.values(storage), folder.join('here'), folder.join('there')])) await mkdir(each)
  const here = resources.use(new LeaseBench(folder.join('here'), disksIn(storage.here)))
  const there = resources.use(new LeaseBench(folder.join('there'), disksIn(storage.there)))
  await here.machine.start()
  await here.machine.control.execute('cont')
  const uri = `unix:${folder.join('migration')}`
  const begin = async (): Promise<void> => {
    if (copied) {
      // nothing is written meanwhile
      await here.machine.control.execute('stop')
      for (const { file } of disksIn(storage.here)) await copyFile(file, file.replace(storage.here, storage.there))
    }
    await there.machine.start({ extra: ['-incoming', 'defer'] })
    const capabilities = [{ capability: 'dirty-bitmaps', state: bitmaps }]
    for (const { machine } of [here, there]) await machine.control.execute('migrate-set-capabilities', { capabilities })
    await there.machine.control.execute('migrate-incoming', { uri })
    await here.machine.control.execute('migrate', { uri })
  }
  const stateOf = async ({ machine }: LeaseBench): Promise<unknown> =>
    ((await machine.control.execute('query-status')) as { status: unknown }).status
  const arrived = async (): Promise<void> => {
    await eventually(async () => (await stateOf(here)) === 'postmigrate')
    await eventually(async () => ['running', 'paused'].includes(String(await stateOf(there))))
    // what the guest has written goes on there
    for (const [disk, bytes] of here.model) there.model.set(disk, bytes)
  }
  const all = resources.move()
  return { here, there, begin, arrived, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

const reasons = ({ disks }: Lease): string[] => disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)

const committed = async (bench: LeaseBench): Promise<Lease> => {
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await lease.end('committed')
  return lease
}

const expectContent = async (bench: LeaseBench, { disks }: Lease): Promise<void> => {
  for (const disk of disks)
    expect((await bench.content(disk)).equals(bench.model.get(disk.name)!), disk.name).toBe(true)
}

const bitmapsOf = async ({ machine }: LeaseBench) =>
  (await listNodes(machine.control)).flatMap(({ bitmaps }) => bitmaps)

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
  await control.execute('migrate-set-parameters', { 'max-bandwidth': 4096 })
  await pair.begin()
  await eventually(async () => ((await control.execute('query-migrate')) as { status?: string }).status === 'active')
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
