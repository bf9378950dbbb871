// The number beside the packs: never above that of the catalog in use, there before anybody is told, and enough to know an
// older copy.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { openLocal } from '../../../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../../../gateway/datastore/datastore.ts'
import { layEpoch, readEpoch } from '../../../../gateway/packs/directory/epoch-file.ts'
import { checkCatalogVersion } from '../../../../gateway/catalog/sqlite/store-version.ts'
import { EPOCH_NAME } from '../../../../gateway/packs/directory/names.ts'
import { collected, randomDisk, readImage, removePoints } from '../../maintenance/stand.ts'
import { Stand } from '../../chains/script.ts'
import { addTenant, openDatastore, temporaryFolder, touch } from '../../datastore/fixture.ts'

const OLDER = { code: 'CATALOG_MISSING', message: expect.stringContaining('repair --rebuild') as string }

const dropLog = async (folder: string): Promise<void> => {
  for (const end of ['-wal', '-shm']) await rm(path.join(folder, `${CATALOG_NAME}${end}`), { force: true })
}

/** A copy of a catalog in use, as a careless person takes it, with its log. */
const copyCatalog = async (folder: string): Promise<() => Promise<void>> => {
  const kept = path.join(folder, `copy-${randomUUID()}`)
  await mkdir(kept)
  for (const end of ['', '-wal'])
    await cp(path.join(folder, `${CATALOG_NAME}${end}`), path.join(kept, `catalog${end}`)).catch(() => {})
  return async () => {
    await dropLog(folder)
    await rename(path.join(kept, 'catalog'), path.join(folder, CATALOG_NAME))
    await rename(path.join(kept, 'catalog-wal'), path.join(folder, `${CATALOG_NAME}-wal`)).catch(() => {})
    await rm(kept, { recursive: true })
  }
}

test('a number is laid, read and only raised; what cannot be read is none', async () => {
  await using folder = await temporaryFolder()
  expect(readEpoch(folder.path)).toBe(null)
  await layEpoch(folder.path, 41)
  expect(readEpoch(folder.path)).toBe(41)
  // the last two are 41 with a bit of the first digit turned, and what no number goes above
  for (const noise of ['noise', '41\n', '8000000000000041\n', '9999999999999999\n']) {
    await writeFile(path.join(folder.path, EPOCH_NAME), noise)
    expect(readEpoch(folder.path)).toBe(null)
  }
})

test('whoever is told of a change finds it beside the packs; a command on a folder never opened makes nothing', async () => {
  await using folder = await temporaryFolder()
  await using datastore = await openDatastore(folder.path)
  const root = path.join(folder.path, 'packs')
  const before = readEpoch(root)!
  await addTenant(datastore, 'one')
  const told = await datastore.catalog.condition.acknowledged()
  expect(told).toBeGreaterThan(before)
  expect(readEpoch(root)).toBe(told)
  await using other = await temporaryFolder()
  using catalog = openLocal(path.join(other.path, CATALOG_NAME))
  await catalog.settings.set({ name: 'a', value: 'b' })
  expect(readEpoch(path.join(other.path, 'packs'))).toBe(null)
})

test('a copy taken while a backup ran, whose point was committed and its chunks collected since, is refused', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('one')
  const first = await stand.point(machine, randomDisk(5))
  const job = await stand.job(machine, 5 * 4096)
  const plains = randomDisk(5)
  await stand.uploadAll(job, plains)
  const putBack = await copyCatalog(stand.folder)
  await stand.commit(job)
  removePoints(stand, first.id)
  await collected(stand, { thresholdPercent: 100 })
  await stand.datastore[Symbol.asyncDispose]()
  await putBack()
  for (let start = 0; start < 2; start++) await expect(openDatastore(stand.folder)).rejects.toMatchObject(OLDER)
})

test('a copy from before a collection, and one from before a tenant, are refused; the newest one is not', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('one')
  const first = await stand.point(machine, randomDisk(5))
  const { root } = await stand.point(machine, randomDisk(5), 40)
  removePoints(stand, first.id)
  const before = await copyCatalog(stand.folder)
  await collected(stand, { thresholdPercent: 100 })
  await stand.datastore[Symbol.asyncDispose]()
  const newest = await copyCatalog(stand.folder)
  await before()
  await expect(openDatastore(stand.folder)).rejects.toMatchObject(OLDER)
  await newest()
  await stand.reopen()
  expect(await readImage(stand, root, 5)).toHaveLength(5)
  const without = await copyCatalog(stand.folder)
  await addTenant(stand.datastore, 'another')
  await stand.datastore[Symbol.asyncDispose]()
  await without()
  await expect(openDatastore(stand.folder)).rejects.toMatchObject(OLDER)
})

test('without the number a tenant that only packs know is found all the same, and the number is laid anew', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('one'), randomDisk(2))
  await stand.datastore[Symbol.asyncDispose]()
  const putBack = await copyCatalog(stand.folder)
  await stand.reopen()
  const other = await addTenant(stand.datastore, 'another')
  await stand.datastore.tenantStore(other).writeState()
  await stand.datastore[Symbol.asyncDispose]()
  const newest = await copyCatalog(stand.folder)
  await putBack()
  const root = path.join(stand.folder, 'packs')
  await rm(path.join(root, EPOCH_NAME))
  await expect(openDatastore(stand.folder)).rejects.toMatchObject({
    message: expect.stringContaining(other.id) as string,
  })
  expect(readEpoch(root)).toBe(null)
  await newest()
  await touch(openDatastore(stand.folder))
  expect(readEpoch(root)).toBeGreaterThan(0)
})

test('a catalogFile that is replaced under a running gateway takes no acknowledged change', async () => {
  await using folder = await temporaryFolder()
  const datastore = await openDatastore(folder.path)
  const catalogFile = path.join(folder.path, CATALOG_NAME)
  await cp(catalogFile, `${catalogFile}.copy`)
  await rename(`${catalogFile}.copy`, catalogFile)
  await expect(addTenant(datastore, 'lost')).rejects.toMatchObject({
    code: 'STORE_FAILED',
    message: expect.stringContaining('catalog.db was moved') as string,
  })
  await datastore[Symbol.asyncDispose]()
  expect((await readFile(catalogFile)).length).toBeGreaterThan(0)
})

test('the catalogFile of another folder, tried by mistake, does not make the right one pass for an older copy', async () => {
  await using other = await temporaryFolder()
  {
    await using datastore = await openDatastore(other.path)
    for (let count = 0; count < 20; count++) await addTenant(datastore, `one-${count}`)
  }
  await using folder = await temporaryFolder()
  const catalogFile = path.join(folder.path, CATALOG_NAME)
  {
    await using datastore = await openDatastore(folder.path)
    await addTenant(datastore, 'mine')
  }
  const before = readEpoch(path.join(folder.path, 'packs'))
  await rename(catalogFile, `${catalogFile}.mine`)
  await cp(path.join(other.path, CATALOG_NAME), catalogFile)
  await expect(openDatastore(folder.path)).rejects.toMatchObject({ code: 'STORE_FAILED' })
  expect(() => checkCatalogVersion(catalogFile, { epoch: true })).toThrow('is not the one of this catalog')
  {
    using catalog = openLocal(catalogFile)
    await catalog.settings.set({ name: 'a', value: 'b' })
  }
  expect(readEpoch(path.join(folder.path, 'packs'))).toBe(before)
  await dropLog(folder.path)
  await rename(`${catalogFile}.mine`, catalogFile)
  await using datastore = await openDatastore(folder.path)
  expect(await datastore.catalog.tenants.byName({ name: 'mine' })).not.toBe(null)
})

test('a pipe in the place of the number holds nobody up, and gives way to the number', async () => {
  await using folder = await temporaryFolder()
  const file = path.join(folder.path, 'packs', EPOCH_NAME)
  {
    await using datastore = await openDatastore(folder.path)
    await rm(file)
    execFileSync('mkfifo', [file])
    await addTenant(datastore, 'one')
  }
  await using datastore = await openDatastore(folder.path)
  expect(readEpoch(path.join(folder.path, 'packs'))).toBe(await datastore.catalog.condition.acknowledged())
})
