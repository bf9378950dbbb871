// The lock that nobody can unlink: one holder of a folder, whatever path led to it, and of its packs.
import { cp, mkdir, rm, symlink } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { FolderLock } from '../../../gateway/folder/folder-lock.ts'
import { openPackStore, packStoreIn } from '../../../gateway/packs/open-pack-store.ts'
import { openDatastore, temporaryFolder } from '../datastore/fixture.ts'

const LOCKED = { code: 'STORE_LOCKED' }

test('a folder is locked by whatever path, and packs in another data folder too; another folder is not', async () => {
  await using folder = await temporaryFolder()
  const at = (name: string): string => path.join(folder.path, name)
  for (const name of ['one', 'one/packs', 'two', 'three', 'three/packs']) await mkdir(at(name))
  await symlink(at('one'), at('link'))
  await symlink(at('one/packs'), at('two/packs'))
  {
    await using _ = await FolderLock.take(at('one'))
    for (const name of ['one', 'link']) await expect(FolderLock.take(at(name))).rejects.toMatchObject(LOCKED)
    await using _other = await FolderLock.take(at('three'))
  }
  await using packs = await openPackStore(packStoreIn(at('link')))
  await packs.lock()
  await using same = await openPackStore(packStoreIn(at('two')))
  await expect(same.lock()).rejects.toMatchObject(LOCKED)
  await using other = await openPackStore(packStoreIn(at('three')))
  await other.lock()
})

test('packs that were made by a first start are locked as those that were there', async () => {
  await using folder = await temporaryFolder()
  const at = (name: string): string => path.join(folder.path, name)
  await mkdir(at('two'))
  {
    await using _ = await openDatastore(at('one'))
    await symlink(at('one/packs'), at('two/packs'))
    await cp(at('one/catalog.db'), at('two/catalog.db'))
    await cp(at('one/catalog.db-wal'), at('two/catalog.db-wal'))
    await expect(openDatastore(at('two'))).rejects.toMatchObject(LOCKED)
  }
  await (await openDatastore(at('two')))[Symbol.asyncDispose]()
})

test('removed lock files let no second datastore in', async () => {
  await using folder = await temporaryFolder()
  const datastore = await openDatastore(folder.path)
  for (const name of ['lock.db', 'catalog.lock', 'gateway.sock'])
    await rm(path.join(folder.path, name), { force: true })
  await expect(openDatastore(folder.path)).rejects.toMatchObject(LOCKED)
  await datastore[Symbol.asyncDispose]()
  await (await openDatastore(folder.path))[Symbol.asyncDispose]()
})
