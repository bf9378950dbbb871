// The directory engine: the conformance suite, where its files lie, and writes that really fail.
import { randomUUID } from 'node:crypto'
import { readdir, stat, symlink } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { DirectoryPackStore } from '../../../gateway/datastore/directory-pack-store.ts'
import { temporaryFolder, touch } from './fixture.ts'
import { packStoreSuite } from './pack-store-suite.ts'

packStoreSuite('directory', async () => {
  const folder = await temporaryFolder()
  return {
    open: () => DirectoryPackStore.open(path.join(folder.path, 'packs')),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
})

test('a pack lies below its tenant and its first two digits, readable by its owner only', async () => {
  await using folder = await temporaryFolder()
  await using store = await DirectoryPackStore.open(folder.path)
  const name = { tenant: randomUUID(), pack: randomUUID() }
  await touch(store.create(name, Buffer.from('x')))
  const file = path.join(folder.path, name.tenant, name.pack.slice(0, 2), `${name.pack}.pack`)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700)
})

test('after one failed append the pack takes nothing more', async () => {
  await using folder = await temporaryFolder()
  await using store = await DirectoryPackStore.open(folder.path)
  const name = { tenant: randomUUID(), pack: randomUUID() }
  const { tenant, pack } = name
  await touch(store.create(name, Buffer.from('x')))
  await store.remove(name)
  // a device that is always full stands in for the pack's file
  await symlink('/dev/full', path.join(folder.path, tenant, pack.slice(0, 2), `${pack}.pack`))
  await using file = await store.open(name, 0)
  await expect(file.append(Buffer.from('bytes'))).rejects.toMatchObject({ code: 'STORE_FULL' })
  expect([file.broken, file.bytes]).toEqual([true, 0])
  await expect(file.append(Buffer.from('bytes'))).rejects.toMatchObject({ code: 'STORE_FAILED' })
  await expect(file.sync()).rejects.toMatchObject({ code: 'STORE_FAILED' })
})

test('a sync that fails breaks the pack', async () => {
  await using folder = await temporaryFolder()
  await using store = await DirectoryPackStore.open(folder.path)
  const name = { tenant: randomUUID(), pack: randomUUID() }
  const { tenant, pack } = name
  await touch(store.create(name, Buffer.from('x')))
  await store.remove(name)
  // a character device cannot be synced
  await symlink('/dev/null', path.join(folder.path, tenant, pack.slice(0, 2), `${pack}.pack`))
  await using file = await store.open(name, 0)
  await file.append(Buffer.from('bytes'))
  await expect(file.sync()).rejects.toMatchObject({ code: 'STORE_FAILED' })
  expect(file.broken).toBe(true)
})

test('a folder that cannot be written gives a typed error without a path', async () => {
  await using folder = await temporaryFolder()
  await expect(DirectoryPackStore.open(path.join(folder.path, 'absent', 'packs'))).rejects.toMatchObject({
    code: 'STORE_FAILED',
    message: expect.not.stringContaining(folder.path),
  })
  expect(await readdir(folder.path)).toEqual([])
})
