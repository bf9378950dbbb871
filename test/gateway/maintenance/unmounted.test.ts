// A folder of packs whose file system is not there for a while: all that needs it fails, nothing is taken for lost, and
// once it is back all is as it was.
import { randomUUID } from 'node:crypto'
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { PACKS_SETTING } from '../../../gateway/catalog/settings.ts'
import { PACKS_NAME } from '../../../gateway/folder/layout.ts'
import { MARKER_NAME } from '../../../gateway/packs/directory/names.ts'
import { layMarker, readMarker } from '../../../gateway/packs/directory/packs-marker.ts'
import { checkPacks } from '../../../gateway/maintenance/check.ts'
import { rebuild, type RebuildOptions } from '../../../gateway/maintenance/rebuild.ts'
import { verifyPoints } from '../../../gateway/maintenance/verify.ts'
import { forgetSetting } from '../../support/catalog-damage.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { memoryLog, openDatastore, temporaryFolder, touch } from '../datastore/fixture.ts'
import { collected, contextOf, randomDisk, readImage } from './stand.ts'

const NOT_MOUNTED = {
  code: 'STORE_FAILED',
  message: 'the folder of packs is not the one of this catalog: is its file system mounted?',
}
const ALL = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }

const packsOf = (folder: string): string => path.join(folder, PACKS_NAME)
const asideOf = (folder: string): string => path.join(folder, 'aside')

/** What is left of a mount point is an empty folder. */
const unmount = async (folder: string): Promise<void> => {
  await rename(packsOf(folder), asideOf(folder))
  await mkdir(packsOf(folder))
}

const mount = async (folder: string): Promise<void> => {
  // what was laid into the mount point would be hidden, and is not to be there
  expect(await readdir(packsOf(folder))).toEqual([])
  await rm(packsOf(folder), { recursive: true })
  await rename(asideOf(folder), packsOf(folder))
}

const settingOf = async (folder: string): Promise<string | null> => {
  using catalog = openLocal(path.join(folder, CATALOG_NAME))
  return await catalog.settings.get({ name: PACKS_SETTING })
}

const dropSetting = (folder: string): void => forgetSetting(folder, PACKS_SETTING)

/** What the index has, and what is known to be damaged and lost. */
const contents = async ({ datastore: { catalog }, tenant: { id: tenant } }: Stand): Promise<object> => ({
  records: await catalog.collection.count({ tenant }),
  damaged: await catalog.damage.any({ tenant }),
  lost: (await catalog.lost.show({ tenant, point: null, disk: null, limit: 1 })).lostCount,
})

interface World extends AsyncDisposable {
  readonly stand: Stand
  readonly plains: Plains
  readonly root: Uint8Array
}

/** A restore point in sealed packs, of which no file is open. */
const world = async (): Promise<World> => {
  const stand = await Stand.open()
  const plains = randomDisk(100)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  await stand.datastore.tenantStore(stand.tenant).writeState()
  await stand.datastore.tenantStore(stand.tenant).packs.retire()
  await stand.reopen()
  return { stand, plains, root: root!, [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose]() }
}

describe('under a running gateway', () => {
  test('reads, verification, collection, checks and uploads fail, and nothing is quarantined', async () => {
    await using place = await world()
    const { stand, plains, root } = place
    const { datastore, tenant, folder } = stand
    const store = datastore.tenantStore(tenant)
    const machine = await stand.machine('web1')
    const before = await contents(stand)
    expect(before).toMatchObject({ damaged: false, lost: 0 })
    const packs = await datastore.catalog.collection.packs({ tenant: tenant.id })
    await unmount(folder)

    await expect(store.readRecord(stand.idOf(plains[0]!))).rejects.toMatchObject(NOT_MOUNTED)
    await expect(readImage(stand, root, plains.length)).rejects.toMatchObject(NOT_MOUNTED)
    await expect(store.packs.gone(packs)).rejects.toMatchObject(NOT_MOUNTED)
    await expect(verifyPoints(contextOf(stand), ALL)).rejects.toMatchObject(NOT_MOUNTED)
    await expect(collected(stand)).rejects.toMatchObject(NOT_MOUNTED)
    await expect(checkPacks(contextOf(stand), { bytesPerSecond: null })).rejects.toMatchObject(NOT_MOUNTED)
    const job = await stand.job(machine, 100 * tenant.chunkBytes)
    await expect(stand.uploadAll(job, randomDisk(100))).rejects.toMatchObject(NOT_MOUNTED)
    await stand.fail(machine)
    expect(await contents(stand)).toEqual(before)

    await mount(folder)
    expect(await readImage(stand, root, plains.length)).toEqual(plains)
    expect(await verifyPoints(contextOf(stand), ALL)).toMatchObject({ points: 1, good: 1, damagedCount: 0 })
    await stand.point(machine, randomDisk(100))
    await collected(stand)
    expect(await verifyPoints(contextOf(stand), ALL)).toMatchObject({ points: 2, good: 2, damagedCount: 0 })
    await stand.reopen()
    expect(stand.datastore.report).toMatchObject({ damaged: [], unknownCount: 0 })
    expect(await readImage(stand, root, plains.length)).toEqual(plains)
  })

  test("another datastore's packs in its place count as none of its own", async () => {
    await using place = await world()
    const { stand, plains, root } = place
    await unmount(stand.folder)
    await layMarker(packsOf(stand.folder), randomUUID())
    await expect(verifyPoints(contextOf(stand), ALL)).rejects.toMatchObject(NOT_MOUNTED)
    await expect(collected(stand)).rejects.toMatchObject(NOT_MOUNTED)
    expect(await contents(stand)).toMatchObject({ damaged: false })
    await rm(path.join(packsOf(stand.folder), MARKER_NAME))
    await mount(stand.folder)
    expect(await readImage(stand, root, plains.length)).toEqual(plains)
  })
})

describe('at a start', () => {
  test('an empty folder, an absent one and that of another datastore are refused and not touched', async () => {
    await using place = await world()
    const { stand, plains, root } = place
    const { folder } = stand
    await stand.datastore[Symbol.asyncDispose]()
    const before = await readFile(path.join(folder, CATALOG_NAME))
    await unmount(folder)
    await expect(openDatastore(folder)).rejects.toMatchObject(NOT_MOUNTED)
    expect(await readdir(packsOf(folder))).toEqual([])
    await rm(packsOf(folder), { recursive: true })
    await expect(openDatastore(folder)).rejects.toMatchObject(NOT_MOUNTED)
    expect(await readdir(folder)).not.toContain(PACKS_NAME)
    const other = randomUUID()
    await layMarker(packsOf(folder), other)
    await expect(openDatastore(folder)).rejects.toMatchObject(NOT_MOUNTED)
    expect(readMarker(packsOf(folder))).toBe(other)
    await rm(path.join(packsOf(folder), MARKER_NAME))
    expect(await readFile(path.join(folder, CATALOG_NAME))).toEqual(before)
    await mount(folder)
    await stand.reopen()
    expect(stand.datastore.report).toMatchObject({ damaged: [], unknownCount: 0 })
    expect(await readImage(stand, root, plains.length)).toEqual(plains)
  })

  test('a folder without packs gets a marker, and a new one on another file system', async () => {
    await using folder = await temporaryFolder()
    await touch(openDatastore(folder.path))
    const first = readMarker(packsOf(folder.path))
    expect(first).not.toBe(null)
    expect(await settingOf(folder.path)).toBe(first)
    await touch(openDatastore(folder.path))
    expect(readMarker(packsOf(folder.path))).toBe(first)
    // mounted after the first start: the first marker lies below
    await unmount(folder.path)
    await touch(openDatastore(folder.path))
    const second = readMarker(packsOf(folder.path))
    expect(second).not.toBe(first)
    expect(await settingOf(folder.path)).toBe(second)
    await rm(packsOf(folder.path), { recursive: true })
    await rename(asideOf(folder.path), packsOf(folder.path))
    await expect(openDatastore(folder.path)).rejects.toMatchObject(NOT_MOUNTED)
  })

  test('a crash between catalog and marker, either way, is no hindrance', async () => {
    await using folder = await temporaryFolder()
    await touch(openDatastore(folder.path))
    await rm(path.join(packsOf(folder.path), MARKER_NAME))
    await touch(openDatastore(folder.path))
    const laid = readMarker(packsOf(folder.path))
    expect(await settingOf(folder.path)).toBe(laid)
    dropSetting(folder.path)
    await touch(openDatastore(folder.path))
    expect([readMarker(packsOf(folder.path)), await settingOf(folder.path)]).toEqual([laid, laid])
  })

  test('a catalog with packs that does not say which folder is theirs takes none for it, until it is rebuilt', async () => {
    await using place = await world()
    const { stand, plains, root } = place
    const { folder } = stand
    await stand.datastore[Symbol.asyncDispose]()
    const laid = readMarker(packsOf(folder))
    dropSetting(folder)
    await expect(openDatastore(folder)).rejects.toMatchObject(NOT_MOUNTED)
    expect([readMarker(packsOf(folder)), await settingOf(folder)]).toEqual([laid, null])
    await rebuild({ folder, log: memoryLog() })
    expect(await settingOf(folder)).toBe(laid)
    await stand.reopen()
    expect(stand.datastore.report).toMatchObject({ damaged: [], unknownCount: 0 })
    expect(await readImage(stand, root, plains.length)).toEqual(plains)
  })
})

describe('a rebuild', () => {
  const run = (folder: string, options: Partial<RebuildOptions> = {}): ReturnType<typeof rebuild> =>
    rebuild({ folder, log: memoryLog(), ...options })

  test.each([
    ['the marker is taken over', false, false],
    ['the marker is taken over without a catalog', false, true],
    ['a marker is made where there is none', true, false],
    ['a marker is made where there is neither', true, true],
  ])('%s', async (_, dropMarker, dropCatalog) => {
    await using place = await world()
    const { stand, plains, root } = place
    const { folder } = stand
    await stand.datastore[Symbol.asyncDispose]()
    const before = readMarker(packsOf(folder))
    if (dropMarker) await rm(path.join(packsOf(folder), MARKER_NAME))
    if (dropCatalog) await rm(path.join(folder, CATALOG_NAME))
    const report = await run(folder)
    expect(report.unknownFiles.rows).toEqual([])
    const after = readMarker(packsOf(folder))
    expect(after === before).toBe(!dropMarker)
    expect(after).not.toBe(null)
    expect(await settingOf(folder)).toBe(after)
    await stand.reopen()
    expect(await readImage(stand, root, plains.length)).toEqual(plains)
  })

  test('takes over packs that came with a marker of their own', async () => {
    await using place = await world()
    const { stand, plains, root } = place
    await stand.datastore[Symbol.asyncDispose]()
    await using other = await temporaryFolder()
    await touch(openDatastore(other.path))
    await cp(packsOf(stand.folder), packsOf(other.path), { recursive: true })
    await expect(openDatastore(other.path)).rejects.toMatchObject({ code: 'CATALOG_MISSING' })
    await run(other.path)
    expect(await settingOf(other.path)).toBe(readMarker(packsOf(stand.folder)))
    await touch(openDatastore(other.path))
    await stand.reopen()
    expect(await readImage(stand, root, plains.length)).toEqual(plains)
  })

  test('of an empty mount point is refused, and so is one whose packs go away meanwhile', async () => {
    await using place = await world()
    const { stand, plains, root } = place
    const { folder } = stand
    await stand.datastore[Symbol.asyncDispose]()
    const before = await readFile(path.join(folder, CATALOG_NAME))
    await unmount(folder)
    await expect(run(folder)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await mount(folder)
    let gone = false
    const onProgress = (): void => {
      if (!gone) void unmount(folder)
      gone = true
    }
    await expect(run(folder, { onProgress })).rejects.toMatchObject({ code: 'STORE_FAILED' })
    expect(gone).toBe(true)
    expect(await readFile(path.join(folder, CATALOG_NAME))).toEqual(before)
    await mount(folder)
    await stand.reopen()
    expect(await readImage(stand, root, plains.length)).toEqual(plains)
  })
})

test('a file that only looks like the marker is a stranger', async () => {
  await using folder = await temporaryFolder()
  await touch(openDatastore(folder.path))
  await writeFile(path.join(packsOf(folder.path), `${MARKER_NAME}~`), 'x')
  await using datastore = await openDatastore(folder.path)
  expect(datastore.report.unknown).toEqual([`${MARKER_NAME}~`])
})
