// Packs rewritten on a full disk: with ballast, the smallest first where it does not suffice for all, and nothing is lost
// where nothing fits.
import path from 'node:path'
import { expect, test } from 'vitest'
import { BALLAST_FILE_BYTES } from '../../../gateway/folder/ballast.ts'
import { Datastore } from '../../../gateway/datastore/datastore.ts'
import { tinyFileSystem } from '../../agent/restore/devices.ts'
import { Filler } from '../../support/full-disk.ts'
import { Stand } from '../chains/script.ts'
import { addTenant, memoryLog, temporaryFolder } from '../datastore/fixture.ts'
import { collected, randomDisk, readImage, removePoints } from './stand.ts'

const MIB = 2 ** 20

/** Packs of half a MiB, of which the points of even number go, on a disk of 64 MiB that is then full. */
const setUp = async (options: { ballast: boolean; packBytesMax?: number }) => {
  const stack = new AsyncDisposableStack()
  const folder = stack.use(await temporaryFolder())
  const disk = stack.use((await tinyFileSystem(path.join(folder.path, 'disk'), 64 * MIB))!)
  const { packBytesMax = MIB / 2 } = options
  const datastore = stack.use(
    await Datastore.open({ folder: disk.path, log: memoryLog(), threads: 1, reserveBytes: 0, packBytesMax }),
  )
  const stand = new Stand(
    { path: disk.path, [Symbol.asyncDispose]: async () => {} },
    datastore,
    await addTenant(datastore, 'acme'),
  )
  const machine = await stand.machine('db1')
  const kept: { root: Uint8Array | null; plains: Uint8Array[] }[] = []
  const goes: string[] = []
  for (let number = 0; number < 10; number++) {
    const plains = randomDisk(200)
    const { id, root } = await stand.point(machine, plains, 10 + number)
    if (number % 2 === 0) goes.push(id)
    else kept.push({ root, plains })
  }
  removePoints(stand, ...goes)
  if (options.ballast) await datastore.ballast.keep()
  const filler = stack.use(new Filler(disk.path))
  filler.fill()
  const whole = async (): Promise<void> => {
    for (const { root, plains } of kept) expect(await readImage(stand, root, plains.length)).toEqual(plains)
  }
  return { stand, datastore, filler, whole, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

test('with ballast a collection on a full disk frees what it frees on an empty one', async () => {
  await using full = await setUp({ ballast: true })
  const report = await collected(full.stand)
  expect(report.waiting.noRoomBytes).toBe(0)
  expect(report.packs.rewritten).toBeGreaterThan(0)
  expect(report.bytesAfter).toBeLessThan(report.live.bytes * 1.15)
  await full.whole()
})

test('where live records find no room what is dead is named, and everything stays readable; with room again it goes', async () => {
  // one pack, larger than the ballast
  await using full = await setUp({ ballast: true, packBytesMax: 64 * MIB })
  full.datastore.ballast.catalogs.giveBack(3)
  full.filler.fill()
  const report = await collected(full.stand)
  expect(report.waiting.noRoomBytes).toBeGreaterThan(3 * MIB)
  expect(report.packs.rewritten).toBeLessThan(2)
  expect(full.datastore.ballast.catalogs.names().length * BALLAST_FILE_BYTES).toBeLessThanOrEqual(MIB)
  await full.whole()
  full.filler[Symbol.dispose]()
  const again = await collected(full.stand)
  expect(again.waiting.noRoomBytes).toBe(0)
  expect(again.bytesAfter).toBeLessThan(again.live.bytes * 1.15)
  await full.whole()
})
