// Engines by their specs: objects as well as files pass the suite, and a whole life of backups is the same on them.
import path from 'node:path'
import { expect, test } from 'vitest'
import { openPackStore, type PackStoreSpec } from '../../../gateway/packs/open-pack-store.ts'
import { Stand } from '../chains/script.ts'
import { temporaryFolder } from '../datastore/fixture.ts'
import { changed, collected, packBytes, randomDisk, readImage, removePoints } from '../maintenance/stand.ts'
import { packStoreSuite } from './pack-store-suite.ts'

const objectsIn = (folder: string): PackStoreSpec => ({
  engine: 'module',
  url: new URL('object-engine.ts', import.meta.url).href,
  root: path.join(folder, 'objects'),
})

packStoreSuite('object', async () => {
  const folder = await temporaryFolder()
  return {
    open: (id) => openPackStore(objectsIn(folder.path), id),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
})

test('backups, restores and collections run on objects, also after a restart', async () => {
  await using stand = await Stand.open(objectsIn)
  const machine = await stand.machine('db1')
  const plains = randomDisk(300)
  const old = await stand.point(machine, plains)
  const kept = changed(plains, ...Array.from({ length: 200 }, (_, index) => index))
  const last = await stand.point(machine, kept)
  expect(await readImage(stand, old.root, 300)).toEqual(plains)
  const before = await packBytes(stand)
  removePoints(stand, old.id)
  const report = await collected(stand)
  expect(report.dead.records).toBeGreaterThanOrEqual(200)
  expect(report.bytesAfter).toBeLessThan(before)
  expect(await packBytes(stand)).toBe(report.bytesAfter)
  expect(await readImage(stand, last.root, 300)).toEqual(kept)
  await stand.reopen()
  expect(stand.datastore.report).toMatchObject({ damaged: [], unknown: [] })
  expect(await readImage(stand, last.root, 300)).toEqual(kept)
})
