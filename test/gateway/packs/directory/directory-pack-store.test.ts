// The directory engine: the conformance suite, where its files lie, and writes that really fail.
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { DirectoryPackStore } from '../../../../gateway/packs/directory/directory-pack-store.ts'
import { PACKS_BALLAST_NAME, PROBE_NAME } from '../../../../gateway/folder/layout.ts'
import { MARKER_NAME, NEW_MARKER_NAME } from '../../../../gateway/packs/directory/names.ts'
import { layMarker } from '../../../../gateway/packs/directory/packs-marker.ts'
import { collect, temporaryFolder, touch } from '../../datastore/fixture.ts'
import type { PackName } from '../../../../gateway/packs/pack-store.ts'
import { packStoreSuite } from '../pack-store-suite.ts'

packStoreSuite('directory', async () => {
  const folder = await temporaryFolder()
  return {
    open: (id) => DirectoryPackStore.open(path.join(folder.path, 'packs'), id),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
})

test.each(['empty', "another store's"])(
  'while the folder in its place is %s, nothing is absent, made or removed',
  async (what) => {
    await using folder = await temporaryFolder()
    const [root, aside] = [path.join(folder.path, 'packs'), path.join(folder.path, 'aside')]
    const id = randomUUID()
    await layMarker(root, id)
    await using store = await DirectoryPackStore.open(root, id)
    const [name, absent] = [1, 2].map(() => ({ tenant: randomUUID(), pack: randomUUID() })) as [PackName, PackName]
    await touch(store.create(name, Buffer.from('bytes')))
    await rename(root, aside)
    if (what === 'empty') await mkdir(root)
    else await layMarker(root, randomUUID())
    const before = await readdir(root)
    const failed = { code: 'STORE_FAILED' }
    for (const one of [name, absent]) {
      await expect(store.read(one, 0, 1)).rejects.toMatchObject(failed)
      await expect(store.size(one)).rejects.toMatchObject(failed)
      await expect(store.open(one, 5)).rejects.toMatchObject(failed)
      await expect(store.create(one, Buffer.from('x'))).rejects.toMatchObject(failed)
      expect((await store.remove([one])).get(one.pack)).toMatchObject(failed)
    }
    await expect(collect(store.list())).rejects.toMatchObject(failed)
    await expect(DirectoryPackStore.open(root, id)).rejects.toMatchObject(failed)
    expect(await readdir(root)).toEqual(before)
    await rm(root, { recursive: true })
    await expect(store.size(name)).rejects.toMatchObject(failed)
    await expect(DirectoryPackStore.open(root, id)).rejects.toMatchObject(failed)
    await rename(aside, root)
    expect(Buffer.from(await store.read(name, 0, 5)).toString()).toBe('bytes')
    expect(await store.size(absent)).toBe(null)
    await store.remove([name])
    await expect(store.read(name, 0, 1)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  },
)

test('marker and ballast are no unknown files; a folder is looked after by the marker that it was opened with', async () => {
  await using folder = await temporaryFolder()
  const id = randomUUID()
  await layMarker(folder.path, id)
  await writeFile(path.join(folder.path, NEW_MARKER_NAME), 'left by a crash')
  await writeFile(path.join(folder.path, PROBE_NAME), 'left by a crash')
  await mkdir(path.join(folder.path, PACKS_BALLAST_NAME))
  await writeFile(path.join(folder.path, PACKS_BALLAST_NAME, '00.ballast'), 'no pack')
  await using store = await DirectoryPackStore.open(folder.path)
  expect(store.id).toBe(id)
  expect(await collect(store.list())).toEqual([])
  await rm(path.join(folder.path, MARKER_NAME))
  await expect(store.confirm()).rejects.toMatchObject({ code: 'STORE_FAILED' })
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
  await store.remove([name])
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
  await store.remove([name])
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
