// The datastore as a whole: what was committed is there after a reopen, a second gateway and a later format are refused,
// tenants share nothing.
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, truncate } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { makeForeignDatabase, setSchemaVersion } from '../../support/catalog-damage.ts'
import { plainOf, splitChunks } from '../../protocol/wire-chunks.ts'
import {
  addTenant,
  addUpload,
  batchOf,
  chunkId,
  openDatastore,
  plainChunk,
  progressAt,
  temporaryFolder,
  touch,
} from './fixture.ts'

/** Every file below a folder with the hash of its content; SQLite's own shared-memory file apart. */
const contents = async (folder: string): Promise<Record<string, string>> => {
  const files: Record<string, string> = {}
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = path.join(entry.parentPath, entry.name)
    files[path.relative(folder, file)] = createHash('sha256')
      .update(await readFile(file))
      .digest('hex')
  }
  return files
}

const setFormat = async (folder: string, value: string): Promise<void> => {
  using catalog = openLocal(path.join(folder, CATALOG_NAME))
  await catalog.settings.set({ name: 'format', value })
}

describe('open', () => {
  test('what was committed reads back after a reopen, in the order asked', async () => {
    await using folder = await temporaryFolder()
    const plains = Array.from({ length: 50 }, plainChunk)
    let tenant
    {
      await using datastore = await openDatastore(folder.path)
      tenant = await addTenant(datastore, 'one')
      const upload = await addUpload(folder.path, tenant)
      await using writer = await datastore.tenantStore(tenant).openWriter(upload)
      await writer.append(batchOf(tenant, plains))
      expect(await writer.commit(progressAt(50))).toBeGreaterThan(0)
    }
    await using datastore = await openDatastore(folder.path)
    expect(datastore.report).toMatchObject({ reused: 1, sealed: 0, damaged: [], unknown: [] })
    const store = datastore.tenantStore(tenant)
    const ids = plains.map((plain) => chunkId(tenant, plain)).reverse()
    for (const [index, id] of ids.entries())
      expect(Buffer.from((await store.readRecord(id)).plain).equals(plains[49 - index]!)).toBe(true)
    const stored = splitChunks(await store.readStored(ids))
    expect(Buffer.concat(stored.map(plainOf)).equals(Buffer.concat(plains.toReversed()))).toBe(true)
  })

  test('a second gateway on the same folder is refused, and the first goes on', async () => {
    await using folder = await temporaryFolder()
    {
      await using first = await openDatastore(folder.path)
      await expect(openDatastore(folder.path)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
      await expect(openDatastore(folder.path)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
      await addTenant(first, 'still works')
    }
    await using again = await openDatastore(folder.path)
    expect(await again.catalog.tenants.list()).toHaveLength(1)
  })

  test('while one runs, a second one changes no byte', async () => {
    await using folder = await temporaryFolder()
    await using first = await openDatastore(folder.path)
    const tenant = await addTenant(first, 'one')
    await first.tenantStore(tenant).writeState()
    // readers of SQLite leave their marks in its shared memory
    const lasting = async (): Promise<Record<string, string>> => {
      const { [`${CATALOG_NAME}-shm`]: _, ...files } = await contents(folder.path)
      return files
    }
    const before = await lasting()
    await expect(openDatastore(folder.path)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
    expect(await lasting()).toEqual(before)
  })

  test.each([
    ['absent', async (file: string) => rm(file)],
    ['absent but for its log', async (file: string) => rename(file, `${file}-wal`)],
    ['empty', async (file: string) => truncate(file)],
    [
      'new',
      async (file: string) => {
        await rm(file)
        openLocal(file)[Symbol.dispose]()
      },
    ],
  ])('packs with a catalog that is %s are not touched', async (_, lose) => {
    await using folder = await temporaryFolder()
    {
      await using datastore = await openDatastore(folder.path)
      await datastore.tenantStore(await addTenant(datastore, 'one')).writeState()
    }
    await lose(path.join(folder.path, CATALOG_NAME))
    const before = await contents(folder.path)
    await expect(openDatastore(folder.path)).rejects.toMatchObject({
      code: 'CATALOG_MISSING',
      message: expect.stringContaining('varve-gateway repair --rebuild') as string,
    })
    expect(await contents(folder.path)).toEqual(before)
  })

  test('a catalog beside a running gateway can be used by the command line', async () => {
    await using folder = await temporaryFolder()
    await using datastore = await openDatastore(folder.path)
    const tenant = await addTenant(datastore, 'one')
    await addUpload(folder.path, tenant)
    expect(await datastore.catalog.tenants.byName({ name: 'one' })).toMatchObject({ id: tenant.id })
  })

  test.each(['1', '3', '999999999', 'next', '-1', ''])(
    'format %j is refused and nothing is touched',
    async (format) => {
      await using folder = await temporaryFolder()
      await touch(openDatastore(folder.path))
      await setFormat(folder.path, format)
      const before = await contents(folder.path)
      await expect(openDatastore(folder.path)).rejects.toMatchObject({ code: 'STORE_VERSION' })
      expect(await contents(folder.path)).toEqual(before)
    },
  )

  test('a later schema is refused and nothing is touched', async () => {
    await using folder = await temporaryFolder()
    await touch(openDatastore(folder.path))
    setSchemaVersion(folder.path, 1000)
    const before = await contents(folder.path)
    await expect(openDatastore(folder.path)).rejects.toMatchObject({ code: 'STORE_VERSION' })
    expect(await contents(folder.path)).toEqual(before)
  })

  test('of another format the format is named, whatever number its schema has', async () => {
    await using folder = await temporaryFolder()
    await touch(openDatastore(folder.path))
    await setFormat(folder.path, '999')
    setSchemaVersion(folder.path, 17)
    await expect(openDatastore(folder.path)).rejects.toMatchObject({
      code: 'STORE_VERSION',
      message: expect.stringContaining('format 999') as string,
    })
  })
})

describe('tenants', () => {
  test('the same bytes of two tenants have other ids, other packs, and neither sees the other', async () => {
    await using folder = await temporaryFolder()
    await using datastore = await openDatastore(folder.path)
    const [one, two] = [await addTenant(datastore, 'one'), await addTenant(datastore, 'two')]
    const plains = Array.from({ length: 8 }, plainChunk)
    const stored: number[] = []
    for (const tenant of [one, two]) {
      const upload = await addUpload(folder.path, tenant)
      await using writer = await datastore.tenantStore(tenant).openWriter(upload)
      await writer.append(batchOf(tenant, plains))
      stored.push(await writer.commit(progressAt(8)))
    }
    // the second pays in full
    expect(stored[1]).toBe(stored[0])
    const ids = plains.map((plain) => chunkId(one, plain))
    expect(ids).not.toEqual(plains.map((plain) => chunkId(two, plain)))
    const store = datastore.tenantStore(two)
    expect([...(await store.have(ids, 'none'))]).toEqual(ids.map(() => 0))
    await expect(store.readStored(ids)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
    expect(await store.prove(ids, new Uint8Array(32))).toEqual(ids.map(() => null))
    const packs = await datastore.catalog.packs.list()
    expect(packs.map(({ tenant }) => tenant).sort()).toEqual([one.id, two.id].sort())
  })
})

describe('close', () => {
  test('waits for writers and keeps what they checked, without progress', async () => {
    await using folder = await temporaryFolder()
    const plain = plainChunk()
    const datastore = await openDatastore(folder.path)
    const tenant = await addTenant(datastore, 'one')
    const upload = await addUpload(folder.path, tenant)
    const writer = await datastore.tenantStore(tenant).openWriter(upload)
    const appended = writer.append(batchOf(tenant, [plain]))
    await datastore[Symbol.asyncDispose]()
    await appended
    await expect(writer.append(batchOf(tenant, [plain]))).rejects.toMatchObject({ code: 'JOB_ENDED' })
    await using again = await openDatastore(folder.path)
    const have = await again.tenantStore(tenant).have([chunkId(tenant, plain)], upload.machine)
    expect([...have]).toEqual([2])
    expect(again.report.sealed).toBe(0)
  })
})

test('a file of another program in the place of the catalog is named and left as it is', async () => {
  await using folder = await temporaryFolder()
  const catalog = path.join(folder.path, CATALOG_NAME)
  for (const version of [0, 1]) {
    await rm(catalog, { force: true })
    makeForeignDatabase(catalog, version)
    const before = await readFile(catalog)
    await expect(openDatastore(folder.path)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(
        /catalog\.db is not a catalog of Varve .*move it away.*repair --rebuild/u,
      ) as string,
    })
    expect(await readFile(catalog)).toEqual(before)
  }
  await rm(catalog)
  await mkdir(catalog)
  await expect(openDatastore(folder.path)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
})
