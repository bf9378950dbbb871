// What the short commands share: the catalog of a data folder, a tenant by name, tables.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readdir } from 'node:fs/promises'
import path from 'node:path'
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
import { CatalogLock } from '../../../gateway/datastore/catalog-lock.ts'
import { EXIT } from '../../../protocol/exit.ts'
import { tempFolder } from '../../support/temp.ts'

const MAIN = path.join(import.meta.dirname, '../../../gateway/main.ts')

const TENANT = { name: 'acme', uuid: 'u', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }

afterEach(() => vi.restoreAllMocks())

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
  await withCatalog(data, (database) => database.call('tenant.add', TENANT), { make: true })
  expect(await withAuthority(data, ({ database }) => tenantNamed(database, 'acme'))).toMatchObject({ uuid: 'u' })
  await expect(withCatalog(data, (database) => tenantNamed(database, 'nobody'))).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining('varve-gateway tenant add nobody') as string,
  })
})

test('a catalog of a later program is not touched', async () => {
  await using temp = await tempFolder()
  await withCatalog(temp.path, (database) => database.call('tenant.add', TENANT), { make: true })
  using raw = new DatabaseSync(temp.join('catalog.db'))
  raw.exec('PRAGMA user_version = 999')
  await expect(withCatalog(temp.path, async () => 1)).rejects.toMatchObject({ code: 'STORE_VERSION' })
  expect(raw.prepare('PRAGMA user_version').get()).toEqual({ user_version: 999 })
})

test('while the catalog is rebuilt no command uses it, and says why', async () => {
  await using temp = await tempFolder()
  const add = (): Promise<unknown> =>
    withCatalog(temp.path, (database) => database.call('tenant.add', TENANT), { make: true })
  {
    using _rebuild = CatalogLock.take(temp.path)
    await expect(add()).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      message: expect.stringContaining('repair --rebuild') as string,
    })
  }
  await add()
})

/** The program's output cut off after its first line. */
const readOneLine = async (args: readonly string[]): Promise<{ line: string; stderr: string; code: unknown }> => {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (part: Buffer) => (stderr += part.toString()))
  const closed = once(child, 'close')
  const [first] = (await once(child.stdout, 'data')) as [Buffer]
  child.stdout.destroy()
  const [code] = await closed
  return { line: first.toString().split('\n')[0]!, stderr, code }
}

test('a reader that goes ends nothing and is no error; output that cannot be written is one', async () => {
  await using temp = await tempFolder()
  const at = ['--data', temp.path]
  await withCatalog(
    temp.path,
    async (database) => {
      for (let index = 0; index < 3000; index++)
        await database.call('tenant.add', { ...TENANT, name: `tenant-${index}`, uuid: `u${index}` })
    },
    { make: true },
  )
  expect(await readOneLine(['tenant', 'list', ...at])).toEqual({
    line: expect.stringContaining('NAME') as string,
    stderr: '',
    code: EXIT.ok,
  })
  await using full = await open('/dev/full', 'w')
  const child = spawn(process.execPath, [MAIN, 'tenant', 'list', ...at], { stdio: ['ignore', full.fd, 'pipe'] })
  let stderr = ''
  child.stderr!.on('data', (part: Buffer) => (stderr += part.toString()))
  const [code] = await once(child, 'close')
  expect(code).toBe(EXIT.failed)
  expect(stderr).toMatch(/^varve-gateway: not all output could be written: .*no space left.*\n$/u)
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
