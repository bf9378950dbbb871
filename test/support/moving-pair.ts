// A machine with an agent beside it, and the QEMU of another host that it moves to: real live migrations over the same images.
import { copyFile, mkdir } from 'node:fs/promises'
import { expect } from 'vitest'
import type { Lease } from '../../agent/drivers/driver.ts'
import { listNodes, type BitmapState } from '../../agent/qmp/disks.ts'
import { LeaseBench, MIB } from './lease.ts'
import type { TestDisk, TestMachine } from './qemu.ts'
import { eventually, type TempFolder } from './temp.ts'

/** The agent of the other host. */
export const OTHER = '0192aaaa-0000-7000-8000-00000badcafe'

/** The run state. */
export const stateOf = async ({ control }: TestMachine): Promise<unknown> =>
  ((await control.execute('query-status')) as { status: unknown }).status

/** The state of the outgoing migration. */
export const migrationOf = async ({ control }: TestMachine): Promise<unknown> =>
  ((await control.execute('query-migrate')) as { status?: unknown }).status

export interface Pair extends AsyncDisposable {
  readonly here: LeaseBench
  readonly there: LeaseBench
  /** Begins to move the machine, which runs, at a speed in bytes a second. */
  begin(bytesPerSecond?: number): Promise<void>
  /** Waits until it is there, and runs. */
  arrived(): Promise<void>
}

export interface PairOptions {
  /** Bitmaps are moved with the machine (the capability `dirty-bitmaps` of both QEMUs). */
  readonly bitmaps: boolean
  /** The other host has storage of its own. */
  readonly copied?: boolean
}

const disksIn = (folder: string): readonly TestDisk[] => [
  { id: 'vda', format: 'qcow2', file: `${folder}/a.qcow2`, size: 4 * MIB },
  { id: 'vdb', format: 'raw', file: `${folder}/b.raw`, size: 4 * MIB },
]

export const pairOf = async (folder: TempFolder, { bitmaps, copied = false }: PairOptions): Promise<Pair> => {
  await using resources = new AsyncDisposableStack()
  const storage = { here: folder.join('storage'), there: folder.join(copied ? 'copy' : 'storage') }
  for (const each of new Set([...Object.values(storage), folder.join('here'), folder.join('there')])) await mkdir(each)
  const here = resources.use(new LeaseBench(folder.join('here'), disksIn(storage.here)))
  const there = resources.use(new LeaseBench(folder.join('there'), disksIn(storage.there)))
  await here.machine.start()
  await here.machine.control.execute('cont')
  const uri = `unix:${folder.join('migration')}`
  const begin = async (bytesPerSecond = 2 ** 40): Promise<void> => {
    if (copied) {
      // nothing is written meanwhile
      await here.machine.control.execute('stop')
      for (const { file } of disksIn(storage.here)) await copyFile(file, file.replace(storage.here, storage.there))
    }
    // one that waited for a machine that did not come has ended
    await there.machine[Symbol.asyncDispose]()
    await there.machine.start({ extra: ['-incoming', 'defer'] })
    const capabilities = [{ capability: 'dirty-bitmaps', state: bitmaps }]
    for (const { machine } of [here, there]) await machine.control.execute('migrate-set-capabilities', { capabilities })
    await there.machine.control.execute('migrate-incoming', { uri })
    await here.machine.control.execute('migrate-set-parameters', { 'max-bandwidth': bytesPerSecond })
    await here.machine.control.execute('migrate', { uri })
  }
  const arrived = async (): Promise<void> => {
    await eventually(async () => (await stateOf(here.machine)) === 'postmigrate')
    await eventually(async () => ['running', 'paused'].includes(String(await stateOf(there.machine))))
    // what the guest has written goes on there
    for (const [disk, bytes] of here.model) there.model.set(disk, bytes)
  }
  const all = resources.move()
  return { here, there, begin, arrived, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

export const reasons = ({ disks }: Lease): string[] =>
  disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)

/** A lease with its commit, by an agent that ends then. */
export const committed = async (bench: LeaseBench): Promise<Lease> => {
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await lease.end('committed')
  return lease
}

export const expectContent = async (bench: LeaseBench, { disks }: Lease): Promise<void> => {
  for (const disk of disks)
    expect((await bench.content(disk)).equals(bench.model.get(disk.name)!), disk.name).toBe(true)
}

export const bitmapsOf = async ({ machine }: LeaseBench): Promise<BitmapState[]> =>
  (await listNodes(machine.control)).flatMap(({ bitmaps }) => bitmaps)
