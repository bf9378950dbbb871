// Who keeps the ballast: it is made with room to spare, uploads wait while it lacks, and it is made again.
import { readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { Ballast, BALLAST_FILE_BYTES } from '../../../gateway/folder/ballast.ts'
import { BallastKeeper } from '../../../gateway/datastore/ballast-keeper.ts'
import { openThread } from '../../../gateway/catalog/sqlite/database.ts'
import { Datastore } from '../../../gateway/datastore/datastore.ts'
import { tinyFileSystem } from '../../agent/restore/devices.ts'
import { Filler, freeBytes } from '../../support/full-disk.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually } from '../../support/temp.ts'
import { addTenant, memoryLog, temporaryFolder } from './fixture.ts'

const MIB = 2 ** 20

/** No write takes so long, but one that waits for a reader, in milliseconds. */
const WAITS_MS = 1000

/** A keeper on a disk of its own, 64 MiB and so 4 files of ballast. */
const setUp = async () => {
  const stack = new AsyncDisposableStack()
  const folder = stack.use(await temporaryFolder())
  const disk = stack.use((await tinyFileSystem(path.join(folder.path, 'disk'), 64 * MIB))!)
  const catalogFile = path.join(disk.path, 'catalog.db')
  const catalog = stack.use(await openThread(catalogFile))
  const log = memoryLog()
  const ballast = new Ballast(path.join(disk.path, 'ballast'))
  const keeper = new BallastKeeper({ ballast, packs: ballast, catalog, catalogFile, log })
  const filler = stack.use(new Filler(disk.path))
  return {
    folder: disk.path,
    catalogFile,
    catalog,
    ballast,
    keeper,
    filler,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

test('it makes files that no file system makes smaller, and room in catalogFile and log', async () => {
  await using stand = await setUp()
  const { keeper, ballast, catalog, catalogFile } = stand
  keeper.check()
  await keeper.keep()
  expect(ballast.names()).toHaveLength(4)
  const content = readFileSync(path.join(ballast.folder, ballast.names()[0]!))
  expect(content).toHaveLength(BALLAST_FILE_BYTES)
  expect(gzipSync(content).length).toBeGreaterThan(BALLAST_FILE_BYTES * 0.99)
  expect(await catalog.room.free()).toBeGreaterThan(BALLAST_FILE_BYTES / 8)
  expect(statSync(`${catalogFile}-wal`).size).toBeGreaterThan(BALLAST_FILE_BYTES / 4)
  keeper.check()
  const before = freeBytes(stand.folder)
  await keeper.keep()
  expect(freeBytes(stand.folder)).toBe(before)
})

test('while it lacks uploads are refused; it is made again from what is free beyond its own size', async () => {
  await using stand = await setUp()
  const { keeper, ballast, filler } = stand
  await keeper.keep()
  ballast.giveBack(3)
  filler.fill(2 * MIB)
  await keeper.keep()
  expect(ballast.names()).toHaveLength(1)
  expect(() => keeper.check()).toThrow(expect.objectContaining({ code: 'STORE_FULL' }))
  await expect(keeper.checkNow()).rejects.toThrow(/until 7\.0 MiB are free.*prune.*gc/u)
  filler[Symbol.dispose]()
  await keeper.checkNow()
  expect(ballast.names()).toHaveLength(4)
  keeper.check()
})

const ENTRY = {
  timeMs: 1,
  tenant: null,
  subject: 's',
  role: 'r',
  action: 'a',
  resource: '',
  outcome: 'ok',
  details: {},
}

test('a database writes thousands of rows on a disk without a byte, from its own room alone', async () => {
  await using stand = await setUp()
  const { keeper, ballast, catalog, catalogFile, filler } = stand
  await keeper.keep()
  filler.fill()
  for (let done = 0; done < 500; done++) await catalog.audit.appendAll({ records: [ENTRY] })
  expect(ballast.names()).toHaveLength(4)
  // more than the room
  const name = 'large'
  const bytes = statSync(`${catalogFile}-wal`).size + MIB
  await catalog.settings.set({ name, value: 'x'.repeat(bytes) })
  expect(ballast.names().length).toBeLessThan(4)
  expect(await catalog.settings.get({ name })).toHaveLength(bytes)
  // what is only to spare leaves the ballast alone
  filler.fill()
  const left = ballast.names()
  await expect(catalog.room.take({ bytes: 8 * MIB })).rejects.toMatchObject({ code: 'STORE_FULL' })
  expect(ballast.names()).toEqual(left)
})

test('without ballast too it writes on in its own room, and waits for whoever reads what is in the log', async () => {
  await using stand = await setUp()
  const { keeper, ballast, catalog, catalogFile, filler } = stand
  await keeper.keep()
  ballast.giveBack(4)
  filler.fill()
  using reader = new DatabaseSync(catalogFile, { readOnly: true })
  await catalog.audit.appendAll({ records: [ENTRY] })
  reader.exec('BEGIN')
  reader.prepare('SELECT * FROM setting').all()
  let done = 0
  const writing = (async () => {
    while (done < 500) {
      await catalog.audit.appendAll({ records: [ENTRY] })
      done++
    }
  })()
  let before = -1
  // it stands still once the log is at its end
  while (before < done) {
    before = done
    await Promise.race([writing, sleep(WAITS_MS)])
  }
  expect(done).toBeLessThan(500)
  reader.exec('COMMIT')
  await writing
  expect(freeBytes(stand.folder)).toBe(0)
})

test('it is looked after every few seconds, until that is stopped', async () => {
  await using stand = await setUp()
  const { keeper, ballast } = stand
  const clock = new HandClock(1)
  await keeper.again()
  expect(ballast.names()).toEqual([])
  const stop = keeper.watch(clock)
  await eventually(() => clock.waiting === 1)
  expect(ballast.names()).toHaveLength(4)
  ballast.giveBack(2)
  clock.advance(5000)
  await eventually(() => clock.waiting === 1 && ballast.names().length === 4)
  await stop()
  expect(clock.waiting).toBe(0)
})

test('a datastore tells uploads that its ballast lacks, at their start and at each append', async () => {
  await using folder = await temporaryFolder()
  await using disk = (await tinyFileSystem(path.join(folder.path, 'disk'), 64 * MIB))!
  await using datastore = await Datastore.open({ folder: disk.path, log: memoryLog(), threads: 1, reserveBytes: 0 })
  const tenant = await addTenant(datastore, 'acme')
  await datastore.space.admit(tenant)
  using filler = new Filler(disk.path)
  filler.fill(MIB)
  await datastore.ballast.keep()
  await expect(datastore.space.admit(tenant)).rejects.toMatchObject({ code: 'STORE_FULL' })
  await expect(datastore.space.take(tenant, 1)).rejects.toMatchObject({ code: 'STORE_FULL' })
  filler[Symbol.dispose]()
  await datastore.space.admit(tenant)
  ;(await datastore.space.take(tenant, 1))[Symbol.dispose]()
  expect(datastore.space.quotas.usedBytes(tenant.id)).toBe(0)
})
