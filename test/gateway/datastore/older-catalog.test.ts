// A catalog that is older than its packs is refused with nothing changed; what a crash leaves behind the acknowledged ends
// is not.
import { cp, readdir, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { undoCommit } from '../../support/catalog-damage.ts'
import { Stand, type Plains } from '../chains/script.ts'
import type { PackRow } from '../../../gateway/catalog/packs.ts'
import { addAgent } from '../catalog.ts'
import { openDatastore, plainChunk } from './fixture.ts'

const disk = (): Plains => Array.from({ length: 5 }, plainChunk)

/** Stops the stand, runs `later` on a new start, and puts the catalog of before back. */
const rolledBack = async (stand: Stand, later: () => Promise<unknown>): Promise<void> => {
  const catalog = path.join(stand.folder, CATALOG_NAME)
  await stand.datastore[Symbol.asyncDispose]()
  await cp(catalog, `${catalog}.copy`)
  await stand.reopen()
  await later()
  await stand.datastore[Symbol.asyncDispose]()
  for (const suffix of ['-wal', '-shm']) await rm(`${catalog}${suffix}`, { force: true })
  await rename(`${catalog}.copy`, catalog)
}

const packs = async (folder: string): Promise<Record<string, Buffer>> => {
  const files: Record<string, Buffer> = {}
  for (const file of await readdir(path.join(folder, 'packs'), { recursive: true }))
    if (file.endsWith('.pack')) files[file] = await readFile(path.join(folder, 'packs', file))
  return files
}

const expectRefused = async (stand: Stand, what: string): Promise<void> => {
  const before = await packs(stand.folder)
  const rows = async (): Promise<PackRow[]> => {
    using catalog = openLocal(path.join(stand.folder, CATALOG_NAME))
    return await catalog.packs.list()
  }
  const known = await rows()
  for (let start = 0; start < 2; start++)
    await expect(openDatastore(stand.folder)).rejects.toMatchObject({
      code: 'CATALOG_MISSING',
      message: expect.stringContaining(what) as string,
    })
  expect(await packs(stand.folder)).toEqual(before)
  expect(await rows()).toEqual(known)
}

test('a restore point that came later in a pack that it knows', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('one')
  await stand.point(machine, disk())
  let id = ''
  await rolledBack(stand, async () => ({ id } = await stand.point(machine, disk(), 40)))
  await expectRefused(stand, `restore point ${id}`)
})

test('a restore point in a pack that it does not know', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('one')
  let id = ''
  await rolledBack(stand, async () => ({ id } = await stand.point(machine, disk())))
  await expectRefused(stand, 'state 1 of tenant acme')
  expect(id).not.toBe('')
})

test('a state that came later', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('one'), disk())
  await rolledBack(stand, async () => {
    await addAgent(stand.datastore.catalog, stand.tenant)
    await stand.datastore.tenantStore(stand.tenant).writeState()
  })
  await expectRefused(stand, 'state 2 of tenant acme')
})

test('a manifest and a state whose transactions never came are what a crash leaves', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('one')
  await stand.point(machine, disk())
  const job = await stand.job(machine, 5 * 4096)
  await stand.uploadAll(job, disk())
  await addAgent(stand.datastore.catalog, stand.tenant)
  // the number is given out, the record is in the pack, the rows are not in the catalog
  const before = await stand.datastore.catalog.packs.list()
  await stand.commit(job)
  await stand.datastore[Symbol.asyncDispose]()
  undoCommit(stand.folder, job.id, new Map(before.map(({ uuid, bytes }) => [uuid, bytes])))
  await stand.reopen()
  expect(stand.datastore.report).toMatchObject({ sealed: 1, damaged: [], unknown: [] })
})
