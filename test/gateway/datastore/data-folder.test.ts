// What a data folder must be before a command opens a gateway in it.
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { CatalogLock } from '../../../gateway/catalog/sqlite/catalog-lock.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { checkDataFolder } from '../../../gateway/datastore/data-folder.ts'
import { setSchemaVersion } from '../../support/catalog-damage.ts'
import { tempFolder } from '../../support/temp.ts'

test('a folder that is none of a gateway is named, and nothing is made in it', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await expect(checkDataFolder(data)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await mkdir(data)
  await expect(checkDataFolder(data)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(/data is not a gateway's data folder.*--data DIR/u) as string,
  })
  expect(await readdir(data)).toEqual([])
  await checkDataFolder(data, { make: true })
})

test('a catalog of a later program is refused, and not touched', async () => {
  await using temp = await tempFolder()
  openLocal(temp.join('catalog.db'))[Symbol.dispose]()
  await checkDataFolder(temp.path)
  setSchemaVersion(temp.path, 999)
  const before = await readFile(temp.join('catalog.db'))
  await expect(checkDataFolder(temp.path)).rejects.toMatchObject({ code: 'STORE_VERSION' })
  expect(await readFile(temp.join('catalog.db'))).toEqual(before)
})

test('while the catalog is rebuilt no command uses it, and says why', async () => {
  await using temp = await tempFolder()
  openLocal(temp.join('catalog.db'))[Symbol.dispose]()
  {
    using _rebuild = CatalogLock.take(temp.path)
    await expect(checkDataFolder(temp.path)).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      message: expect.stringContaining('repair --rebuild') as string,
    })
  }
  await checkDataFolder(temp.path)
})
