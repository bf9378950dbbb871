// The note of a clean stop: good until anything touches the catalog, and never made by a run that ended otherwise.
import { execFileSync } from 'node:child_process'
import { cp, mkdir, open, rename, rm, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { isAsLeft } from '../../../../gateway/catalog/sqlite/clean-stop.ts'
import { openLocal } from '../../../../gateway/catalog/sqlite/database.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { CATALOG_NAME } from '../../../../gateway/datastore/datastore.ts'
import { CLEAN_NAME } from '../../../../gateway/folder/layout.ts'
import { addTenant, openDatastore, temporaryFolder, touch } from '../../datastore/fixture.ts'

test('a catalogFile is as it was left until something writes to it, replaces it or leaves a log beside it', async () => {
  await using folder = await temporaryFolder()
  const catalogFile = path.join(folder.path, CATALOG_NAME)
  expect(isAsLeft(folder.path)).toBe(false)
  const datastore = await openDatastore(folder.path)
  await addTenant(datastore, 'one')
  expect(isAsLeft(folder.path)).toBe(false)
  await datastore[Symbol.asyncDispose]()
  expect(isAsLeft(folder.path)).toBe(true)
  const touches: (() => Promise<unknown>)[] = [
    async () => {
      await using handle = await open(catalogFile, 'r+')
      const { mtime, atime } = await handle.stat()
      await handle.write(Buffer.from('x'), 0, 1, 90)
      await handle.write(Buffer.alloc(1), 0, 1, 90)
      // the time of change cannot be set
      await utimes(catalogFile, atime, mtime)
    },
    async () => {
      await cp(catalogFile, `${catalogFile}.copy`, { preserveTimestamps: true })
      await rename(`${catalogFile}.copy`, catalogFile)
    },
    async () => {
      using catalog = openLocal(catalogFile)
      await catalog.settings.set({ name: 'a', value: 'b' })
    },
    () => writeFile(`${catalogFile}-wal`, ''),
  ]
  for (const work of touches) {
    await work()
    expect(isAsLeft(folder.path)).toBe(false)
    await touch(openDatastore(folder.path))
    expect(isAsLeft(folder.path)).toBe(true)
  }
})

test('a run that met damage leaves no note', async () => {
  await using folder = await temporaryFolder()
  const catalogFile = path.join(folder.path, CATALOG_NAME)
  const datastore = await openDatastore(folder.path)
  await addTenant(datastore, 'one')
  {
    // what another one writes makes the gateway read its pages again
    using catalog = openLocal(catalogFile)
    await catalog.settings.set({ name: 'a', value: 'b' })
  }
  {
    using sql = new Sql(catalogFile)
    sql.restartLog({ patient: false })
    sql.run("UPDATE setting SET value = 'c' WHERE name = 'a'")
  }
  {
    await using handle = await open(catalogFile, 'r+')
    const { size } = await handle.stat()
    await handle.write(Buffer.alloc(size - 4096, 0xff), 0, size - 4096, 4096)
  }
  await expect(datastore.catalog.tenants.list()).rejects.toMatchObject({ code: 'CATALOG_DAMAGED' })
  await datastore[Symbol.asyncDispose]()
  expect(isAsLeft(folder.path)).toBe(false)
})

test('a start that was refused leaves no note', async () => {
  await using folder = await temporaryFolder()
  const catalogFile = path.join(folder.path, CATALOG_NAME)
  const datastore = await openDatastore(folder.path)
  await addTenant(datastore, 'one')
  await datastore[Symbol.asyncDispose]()
  {
    using catalog = openLocal(catalogFile)
    await catalog.settings.set({ name: 'a', value: 'b' })
  }
  {
    await using handle = await open(catalogFile, 'r+')
    await handle.write(Buffer.alloc(4096), 0, 4096, 4096)
  }
  for (let start = 0; start < 2; start++) {
    await expect(openDatastore(folder.path)).rejects.toMatchObject({ code: 'CATALOG_DAMAGED' })
    expect(isAsLeft(folder.path)).toBe(false)
  }
})

test('what is no file is no note, and a pipe in its place keeps nobody waiting', async () => {
  await using folder = await temporaryFolder()
  await (await openDatastore(folder.path))[Symbol.asyncDispose]()
  const note = path.join(folder.path, CLEAN_NAME)
  await rm(note)
  execFileSync('mkfifo', [note])
  expect(isAsLeft(folder.path)).toBe(false)
  await rm(note)
  await mkdir(note)
  expect(isAsLeft(folder.path)).toBe(false)
  await using datastore = await openDatastore(folder.path)
  expect(datastore.report.damaged).toEqual([])
})
