// What the short commands share: the catalog of a data folder, a tenant by name.
import { mkdir, readdir } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { tenantNamed, withAuthority, withCatalog } from '../../../gateway/commands/local.ts'
import { CatalogLock } from '../../../gateway/catalog/sqlite/catalog-lock.ts'
import { tempFolder } from '../../support/temp.ts'

const TENANT = { name: 'acme', id: 'u', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }

test('a command works on the catalog of a folder and lets go of it', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await expect(withCatalog(data, async () => 1)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await mkdir(data)
  await expect(withCatalog(data, async () => 1)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(/data is not a gateway's data folder.*--data DIR/u) as string,
  })
  expect(await readdir(data)).toEqual([])
  await withCatalog(data, (catalog) => catalog.tenants.add(TENANT), { make: true })
  expect(await withAuthority(data, ({ catalog }) => tenantNamed(catalog, 'acme'))).toMatchObject({ uuid: 'u' })
  await expect(withCatalog(data, (catalog) => tenantNamed(catalog, 'nobody'))).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining('varve-gateway tenant add nobody') as string,
  })
})

test('a catalog of a later program is not touched', async () => {
  await using temp = await tempFolder()
  await withCatalog(temp.path, (catalog) => catalog.tenants.add(TENANT), { make: true })
  using raw = new DatabaseSync(temp.join('catalog.db'))
  raw.exec('PRAGMA user_version = 999')
  await expect(withCatalog(temp.path, async () => 1)).rejects.toMatchObject({ code: 'STORE_VERSION' })
  expect(raw.prepare('PRAGMA user_version').get()).toEqual({ user_version: 999 })
})

test('while the catalog is rebuilt no command uses it, and says why', async () => {
  await using temp = await tempFolder()
  const add = (): Promise<unknown> => withCatalog(temp.path, (catalog) => catalog.tenants.add(TENANT), { make: true })
  {
    using _rebuild = CatalogLock.take(temp.path)
    await expect(add()).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      message: expect.stringContaining('repair --rebuild') as string,
    })
  }
  await add()
})
