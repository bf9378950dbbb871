// Garbled catalogs: for each, either the start is refused with the way out, or everything acknowledged restores and a
// collection destroys nothing.
import { cp, open, stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { rebuild } from '../../../gateway/maintenance/rebuild.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import type { Ref } from '../../../protocol/image-tree.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { indexPage, settleCatalog } from '../../support/catalog-damage.ts'
import type { Dice } from '../../support/model-dice.ts'
import { testDice } from '../../support/seed.ts'
import { changed, contextOf, randomDisk, readImage, removePoints } from '../maintenance/stand.ts'
import { collect } from '../../../gateway/maintenance/collect.ts'
import { memoryLog, openDatastore, temporaryFolder } from './fixture.ts'

const ROUNDS = 16
const PAGE_BYTES = 4096

interface Kept {
  readonly id: string
  readonly root: Ref
  readonly plains: Plains
}

/** Machines with restore points, of which one was pruned, with the log taken in or not. */
const world = async (): Promise<{ stand: Stand; points: Kept[] }> => {
  const stand = await Stand.open()
  const points: Kept[] = []
  for (const name of ['one', 'two', 'three']) {
    const machine = await stand.machine(name)
    const disk = randomDisk(70)
    for (const [index, plains] of [disk, changed(disk, 3), changed(disk, 60)].entries()) {
      const { id, root } = await stand.point(machine, plains, 30 + 10 * index)
      points.push({ id, root, plains })
    }
  }
  const pruned = points.shift()!
  removePoints(stand, pruned.id)
  await stand.datastore.tenantStore(stand.tenant).writeState()
  return { stand, points }
}

/** Noise over pages, parts of pages, or single bits of a file. */
const garble = async (file: string, dice: Dice): Promise<string> => {
  const { size } = await stat(file)
  await using handle = await open(file, 'r+')
  const told: string[] = []
  for (let hit = 0; hit < 1 + dice.below(4); hit++) {
    const page = dice.below(Math.max(1, size / PAGE_BYTES)) * PAGE_BYTES
    const from = page + dice.pick([0, 100, dice.below(PAGE_BYTES)])
    const length = Math.min(size - from, dice.pick([1, 8, 40, 600, PAGE_BYTES]))
    const bytes = dice.chance(0.7) ? dice.bytes(length) : Buffer.alloc(length)
    await handle.write(bytes, 0, length, from)
    told.push(`${length} bytes at ${from}`)
  }
  return told.join(', ')
}

/** The stand over a copy of its folder. */
const standOf = (
  stand: Stand,
  folder: { readonly path: string } & AsyncDisposable,
  datastore: Stand['datastore'],
): Stand => new Stand(folder, datastore, stand.tenant)

const expectAll = async (stand: Stand, points: readonly Kept[], told: string): Promise<void> => {
  for (const { root, plains } of points) {
    const read = await readImage(stand, root, plains.length)
    expect([told, read.map((one) => one && Buffer.from(one))]).toEqual([
      told,
      plains.map((one) => one && Buffer.from(one)),
    ])
  }
}

test('whatever was written over the catalog', async () => {
  const { stand, points } = await world()
  await using _ = stand
  const dice = testDice()
  // one that was closed well, and one whose log is beside it, as after a kill
  await using running = await temporaryFolder()
  await cp(stand.folder, running.path, { recursive: true })
  await stand.datastore[Symbol.asyncDispose]()
  let refused = 0
  for (let round = 0; round < ROUNDS; round++) {
    await using copy = await temporaryFolder()
    await cp(dice.chance(0.7) ? stand.folder : running.path, copy.path, { recursive: true })
    const told = `seed ${dice.seed}, round ${round}: ${await garble(path.join(copy.path, CATALOG_NAME), dice)}`
    const opened = await openDatastore(copy.path).catch((error: unknown) => asVarveError(error))
    if ('code' in opened) {
      refused++
      expect([told, opened.code, opened.message]).toEqual([
        told,
        'CATALOG_DAMAGED',
        expect.stringContaining('repair --rebuild'),
      ])
      if (refused > 2) continue
      await rebuild({ folder: copy.path, log: memoryLog() })
      await using rebuilt = await openDatastore(copy.path)
      await expectAll(standOf(stand, copy, rebuilt), points, told)
      continue
    }
    await using datastore = opened
    const here = standOf(stand, copy, datastore)
    await expectAll(here, points, told)
    await collect(contextOf(here), { dryRun: false, thresholdPercent: 100, bytesPerSecond: null })
    await expectAll(here, points, told)
  }
  expect(refused).toBeGreaterThan(0)
})

test('a page that goes bad under a running gateway ends what meets it with the way out, and nothing is removed', async () => {
  const { stand } = await world()
  await using _ = stand
  const catalog = path.join(stand.folder, CATALOG_NAME)
  {
    settleCatalog(stand.folder)
    const page = indexPage(stand.folder)
    await using handle = await open(catalog, 'r+')
    await handle.write(Buffer.alloc(PAGE_BYTES, 'x'), 0, PAGE_BYTES, (page - 1) * PAGE_BYTES)
  }
  const packs = await stand.datastore.catalog.packs.list()
  const collection = collect(contextOf(stand), { dryRun: false, thresholdPercent: 100, bytesPerSecond: null })
  await expect(collection).rejects.toMatchObject({
    code: 'CATALOG_DAMAGED',
    message: expect.stringContaining('repair --rebuild') as string,
  })
  const now = await stand.datastore.catalog.packs.list()
  expect(now.map(({ uuid }) => uuid)).toEqual(expect.arrayContaining(packs.map(({ uuid }) => uuid)))
})
