// What the short commands share: the catalog of a data folder, a tenant by name, tables.
import { mkdir } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, expect, test, vi } from 'vitest'
import {
  print,
  printJson,
  printTable,
  tenantNamed,
  withAuthority,
  withCatalog,
} from '../../../gateway/commands/local.ts'
import { tempFolder } from '../../support/temp.ts'

const TENANT = { name: 'acme', uuid: 'u', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }

afterEach(() => vi.restoreAllMocks())

test('a command works on the catalog of a folder and lets go of it', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await expect(withCatalog(data, async () => 1)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await mkdir(data)
  await withCatalog(data, (database) => database.call('tenant.add', TENANT))
  expect(await withAuthority(data, ({ database }) => tenantNamed(database, 'acme'))).toMatchObject({ uuid: 'u' })
  await expect(withCatalog(data, (database) => tenantNamed(database, 'nobody'))).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining('varve-gateway tenant add nobody') as string,
  })
})

test('a catalog of a later program is not touched', async () => {
  await using temp = await tempFolder()
  await withCatalog(temp.path, (database) => database.call('tenant.add', TENANT))
  using raw = new DatabaseSync(temp.join('catalog.db'))
  raw.exec('PRAGMA user_version = 999')
  await expect(withCatalog(temp.path, async () => 1)).rejects.toMatchObject({ code: 'STORE_VERSION' })
  expect(raw.prepare('PRAGMA user_version').get()).toEqual({ user_version: 999 })
})

test('lines, JSON and tables go to standard output', () => {
  const written: string[] = []
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    written.push(String(text))
    return true
  })
  print('a')
  printJson({ b: [1] })
  printTable(
    ['NAME', 'SIZE'],
    [
      ['db1', '5 GiB'],
      ['longer', ''],
    ],
  )
  expect(written.join('')).toBe('a\n{"b":[1]}\nNAME    SIZE\ndb1     5 GiB\nlonger\n')
})
