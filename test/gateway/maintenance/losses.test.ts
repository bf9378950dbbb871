// What cannot be read, or was lost from the catalog, hides what is alive: no collection may take that for dead, however
// often it runs.
import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { RECORD, type RecordType } from '../../../gateway/packs/format.ts'
import { armFailpoints } from '../../../gateway/common/failpoint.ts'
import { rebuild } from '../../../gateway/maintenance/rebuild.ts'
import { verifyPoints } from '../../../gateway/maintenance/verify.ts'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import type { VerifyReport } from '../../../protocol/maintenance.ts'
import {
  doomPacks,
  flipIds,
  forgetDisks,
  forgetRoots,
  indexedRecords,
  moveRecords,
  nameNoPack,
  setDiskSizes,
  settleCatalog,
  shiftRecords,
} from '../../support/catalog-damage.ts'
import { Damager } from '../../support/damage.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { memoryLog, nodeOf } from '../datastore/fixture.ts'
import { changed, collected, contextOf, packBytes, randomDisk, readImage, removePoints } from './stand.ts'

interface Point {
  readonly id: string
  readonly root: Uint8Array | null
  readonly plains: Plains
}

const idsOf = ({ folder }: Stand, type: RecordType): Uint8Array[] => indexedRecords(folder, type).map(({ id }) => id)

const hold = ({ datastore, tenant }: Stand, id: string, held: boolean): Promise<void> =>
  datastore.catalog.points.hold({ tenant: tenant.id, id, held })

const fileOf = ({ folder, tenant }: Stand, pack: string): string =>
  path.join(folder, 'packs', tenant.id, pack.slice(0, 2), `${pack}.pack`)

const packsOf = async ({ datastore, tenant }: Stand, kind: 'data' | 'nodes'): Promise<string[]> =>
  (await datastore.catalog.collection.packs({ tenant: tenant.id }))
    .filter((pack) => pack.kind === kind && pack.bytes > 0)
    .map(({ uuid }) => uuid)

const verify = (stand: Stand): Promise<VerifyReport> =>
  verifyPoints(contextOf(stand), { point: null, machine: null, olderThanDays: null, bytesPerSecond: null })

const refusal = async (work: Promise<unknown>): Promise<VarveError> => {
  const error = await work.then(
    () => null,
    (thrown: unknown) => asVarveError(thrown),
  )
  if (error === null) throw new Error('it was let through')
  return error
}

const expectWhole = async (stand: Stand, points: readonly Point[]): Promise<void> => {
  for (const { root, plains } of points) expect(await readImage(stand, root, plains.length)).toEqual(plains)
}

/** Three points of one machine, of which the first was removed: garbage that a collection is after. */
const furnish = async (stand: Stand, chunks = 300): Promise<{ old: Point; points: Point[] }> => {
  const machine = await stand.machine('db1')
  const first = randomDisk(chunks)
  const second = changed(first, ...Array.from({ length: chunks / 2 }, (_, index) => index))
  const third = changed(second, 7, chunks - 1)
  const all: Point[] = []
  for (const [index, plains] of [first, second, third].entries())
    all.push({ ...(await stand.point(machine, plains, 30 + index)), plains })
  const [old, ...points] = all as [Point, Point, Point]
  removePoints(stand, old.id)
  return { old, points }
}

/** What all packs hold, and how many records the index has. */
const contents = async (stand: Stand): Promise<unknown> => {
  const packs = [...(await packsOf(stand, 'data')), ...(await packsOf(stand, 'nodes'))]
  const files = await Promise.all(packs.map(async (pack) => (await readFile(fileOf(stand, pack))).toString('latin1')))
  return { records: await stand.datastore.catalog.collection.count({ tenant: stand.tenant.id }), files }
}

const aside = async (stand: Stand, packs: readonly string[]): Promise<() => Promise<void>> => {
  await mkdir(path.join(stand.folder, 'aside'), { recursive: true })
  const away = (pack: string): string => path.join(stand.folder, 'aside', pack)
  for (const pack of packs) await rename(fileOf(stand, pack), away(pack))
  return async () => {
    for (const pack of packs) await rename(away(pack), fileOf(stand, pack))
  }
}

describe('tree nodes that cannot be read', () => {
  test('one flipped bit in the root of a locked point: nothing goes, however often it is tried, and mended all is there', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    const damager = new Damager(stand.folder)
    const { id, root } = points[0]!
    await stand.datastore.catalog.points.lock({ tenant: stand.tenant.id, id, untilMs: 1_000_000 })
    const place = damager.place(root!)
    const before = await readFile(place.file)
    await damager.flip(root!)
    const bytes = await packBytes(stand)
    for (let time = 0; time < 3; time++) {
      const { code, message, details } = await refusal(collected(stand, { thresholdPercent: 100 }))
      expect(code).toBe('TREE_UNREADABLE')
      for (const said of [`${id} of db1 (vda)`, 'verify', 'repair --rebuild', 'prune --point', '--accept-loss'])
        expect(message).toContain(said)
      expect(details).toEqual({ nodes: 1, points: 1, point: id })
    }
    // for a locked one nobody can accept it
    expect(await refusal(collected(stand, { acceptLoss: [id] }))).toMatchObject({ code: 'POINT_HELD' })
    expect(await packBytes(stand)).toBe(bytes)
    await writeFile(place.file, before)
    expect((await collected(stand)).dead.records).toBeGreaterThan(100)
    await expectWhole(stand, points)
    expect(await verify(stand)).toMatchObject({ good: 2, damagedCount: 0, lostCount: 0 })
  })

  test.each(['collection', 'verification', 'restore'])(
    'nodes packs that are away for a while, found by a %s: all points are there when they come back',
    async (finder) => {
      await using stand = await Stand.open()
      const { points } = await furnish(stand)
      await stand.datastore.tenantStore(stand.tenant).packs.retire()
      await stand.reopen()
      const back = await aside(stand, await packsOf(stand, 'nodes'))
      if (finder === 'verification') expect(await verify(stand)).toMatchObject({ good: 0 })
      if (finder === 'restore') {
        const error = await refusal(readImage(stand, points[1]!.root, 300))
        await stand.datastore.tenantStore(stand.tenant).quarantine.enterError(error)
      }
      for (let time = 0; time < 3; time++)
        expect(await refusal(collected(stand, { thresholdPercent: 100 }))).toMatchObject({ code: 'TREE_UNREADABLE' })
      await back()
      expect(await collected(stand)).toMatchObject({ points: 2, missing: 0 })
      await expectWhole(stand, points)
      expect(await verify(stand)).toMatchObject({ good: 2, damagedCount: 0 })
    },
  )

  test('a dry run says the same, and a backup that brings the node again ends it', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    await new Damager(stand.folder).flip(points[1]!.root!)
    expect(await refusal(collected(stand, { dryRun: true }))).toMatchObject({ code: 'TREE_UNREADABLE' })
    const again = await stand.point(await stand.machine('db2'), points[1]!.plains, 60)
    expect(again.root).toEqual(points[1]!.root)
    expect((await collected(stand)).dead.records).toBeGreaterThan(100)
    await expectWhole(stand, points)
  })

  test('without the point that needs it nothing holds it up, and its pack gives its space back', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    const [second, third] = points as [Point, Point]
    await new Damager(stand.folder).flip(third.root!)
    expect(await refusal(collected(stand))).toMatchObject({ code: 'TREE_UNREADABLE' })
    removePoints(stand, third.id)
    const report = await collected(stand, { thresholdPercent: 100 })
    expect(report).toMatchObject({ points: 1, missing: 0, waiting: { damagedBytes: 0 } })
    expect(report.bytesAfter).toBeLessThan(report.live.bytes * 1.01)
    await expectWhole(stand, [second])
  })

  test('a loss is accepted for all points that need the node, by whole names, and takes no more than it must', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    const [second, third] = points as [Point, Point]
    const lone = { ...(await stand.point(await stand.machine('db2'), randomDisk(70), 40)) }
    const shared = (await stand.stored(second.root, 300)).slice(64, 128)
    const store = stand.datastore.tenantStore(stand.tenant)
    const leaf = (await nodeOf(store, second.root!)).children[1]!
    await new Damager(stand.folder).flip(leaf)
    await stand.reopen()
    const accepting = (...acceptLoss: string[]) => collected(stand, { acceptLoss })
    // both points have the leaf
    expect(await refusal(accepting(second.id))).toMatchObject({ code: 'TREE_UNREADABLE', details: { points: 2 } })
    expect(await refusal(accepting(second.id, third.id, lone.id))).toMatchObject({
      code: 'PARAMS_INVALID',
      details: { point: lone.id },
    })
    expect(await refusal(accepting(second.id, '00000000-0000-4000-8000-000000000000'))).toMatchObject({
      code: 'NOT_FOUND',
    })
    await hold(stand, third.id, true)
    expect(await refusal(accepting(second.id, third.id))).toMatchObject({ code: 'POINT_HELD' })
    await hold(stand, third.id, false)
    const report = await accepting(second.id, third.id)
    expect(report.dead.records).toBeGreaterThan(64)
    const located = await stand.datastore.tenantStore(stand.tenant).locate(shared.map((ref) => ref!))
    expect(located.every((one) => one === null)).toBe(true)
    // what is not below it stays
    for (const index of [0, 7, 63, 128, 200, 299])
      await stand.datastore.tenantStore(stand.tenant).readRecord(stand.idOf(third.plains[index]!))
    // it was for that run
    expect(await refusal(collected(stand))).toMatchObject({ code: 'TREE_UNREADABLE' })
  })

  test('a hold that comes while an accepted loss is swept ends it', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    const [second, third] = points as [Point, Point]
    await new Damager(stand.folder).flip(third.root!)
    using _armed = armFailpoints((name) => {
      if (name === 'sweep') void hold(stand, third.id, true)
    })
    expect(await refusal(collected(stand, { acceptLoss: [third.id] }))).toMatchObject({ code: 'POINT_HELD' })
    await expectWhole(stand, [second])
  })
})

describe('reads that fail for a while', () => {
  test('a pack that cannot be read ends it before anything is swept', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    const before = await contents(stand)
    for (const pack of [...(await packsOf(stand, 'data')), ...(await packsOf(stand, 'nodes'))]) {
      using _armed = armFailpoints((name, subject) => {
        if (name === 'pack.read' && subject.includes(pack))
          throw Object.assign(new Error('no'), { code: 'EACCES', syscall: 'open' })
      })
      expect(await refusal(collected(stand))).toMatchObject({ code: 'STORE_FAILED' })
    }
    expect(await contents(stand)).toEqual(before)
    await collected(stand)
    await expectWhole(stand, points)
  })

  test('data packs that are short or away for a while are kept, and whole again when they are', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    await stand.datastore.tenantStore(stand.tenant).packs.retire()
    await stand.reopen()
    const [pack] = (await packsOf(stand, 'data')) as [string]
    const file = fileOf(stand, pack)
    const whole = await readFile(file)
    await truncate(file, 4000)
    expect(await verify(stand)).toMatchObject({ good: 0 })
    for (let time = 0; time < 2; time++) await collected(stand, { thresholdPercent: 100 })
    expect((await stat(file)).size).toBe(4000)
    await writeFile(file, whole)
    await collected(stand, { thresholdPercent: 100 })
    await expectWhole(stand, points)

    const back = await aside(stand, await packsOf(stand, 'data'))
    await stand.reopen()
    for (let time = 0; time < 2; time++) await collected(stand, { thresholdPercent: 100 })
    expect(await verify(stand)).toMatchObject({ good: 0 })
    for (let time = 0; time < 2; time++) await collected(stand, { thresholdPercent: 100 })
    await back()
    await collected(stand, { thresholdPercent: 100 })
    await expectWhole(stand, points)
    expect(await verify(stand)).toMatchObject({ good: 2, damagedCount: 0, lostCount: 0 })
  })

  test('two packs whose files changed places are left alone', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    await stand.datastore.tenantStore(stand.tenant).packs.retire()
    const machine = await stand.machine('db2')
    await stand.point(machine, randomDisk(20), 50)
    await stand.fail(machine).catch(() => {})
    await stand.reopen()
    const [one, other] = (await packsOf(stand, 'data')).map((pack) => fileOf(stand, pack)) as [string, string]
    const swap = async (): Promise<void> => {
      await rename(one, `${one}.x`)
      await rename(other, one)
      await rename(`${one}.x`, other)
    }
    await swap()
    for (let time = 0; time < 2; time++) await collected(stand, { thresholdPercent: 100 }).catch(() => {})
    await swap()
    await stand.reopen()
    await collected(stand)
    await expectWhole(stand, points)
  })
})

describe('what the catalog lost', () => {
  test.each([
    ['chunks', RECORD.chunk],
    ['tree nodes', RECORD.node],
    ['manifests', RECORD.manifest],
  ])('flipped ids of %s: refused, nothing changed, and a rebuild has all', async (_, type) => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    await stand.datastore.tenantStore(stand.tenant).writeState()
    flipIds(stand.folder, type, 20)
    await stand.datastore.tenantStore(stand.tenant).packs.retire()
    const before = await contents(stand)
    for (let time = 0; time < 2; time++) {
      const { code, message } = await refusal(collected(stand, { thresholdPercent: 100 }))
      expect([code, message]).toEqual(['CATALOG_DAMAGED', expect.stringContaining('repair --rebuild')])
    }
    expect(await contents(stand)).toEqual(before)
    await stand.datastore[Symbol.asyncDispose]()
    await rebuild({ folder: stand.folder, log: memoryLog() })
    await stand.reopen()
    await expectWhole(stand, points)
    expect(await collected(stand)).toMatchObject({ points: 2, missing: 0 })
    await expectWhole(stand, points)
  })

  test('a verification that writes them down as missing makes nobody lose them: rewriting finds them', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    flipIds(stand.folder, RECORD.chunk, 20)
    expect(await verify(stand)).toMatchObject({ good: 0 })
    for (let time = 0; time < 2; time++) await collected(stand, { thresholdPercent: 100 })
    await expectWhole(stand, points)
    expect(await verify(stand)).toMatchObject({ good: 2, damagedCount: 0, lostCount: 0 })
  })

  test.each<[string, (stand: Stand) => void]>([
    ['rows that name no pack', (stand) => nameNoPack(stand.folder, idsOf(stand, RECORD.chunk))],
    ['a pack that is said to be let go of', ({ folder }) => doomPacks(folder)],
    ['the root of a disk', ({ folder }) => forgetRoots(folder)],
    ['a disk', ({ folder }) => forgetDisks(folder, null)],
    ['the size of a disk', ({ folder }) => setDiskSizes(folder, 4096, null)],
  ])('%s: refused, and nothing is removed', async (_, damage) => {
    await using stand = await Stand.open()
    await furnish(stand)
    await stand.datastore.tenantStore(stand.tenant).packs.retire()
    damage(stand)
    const before = await contents(stand)
    expect(await refusal(collected(stand))).toMatchObject({ code: 'CATALOG_DAMAGED' })
    expect(await contents(stand)).toEqual(before)
  })

  test('places that are wrong, in another pack or in this one, are found right when the packs are rewritten', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    await stand.datastore.tenantStore(stand.tenant).packs.retire()
    await stand.point(await stand.machine('db2'), randomDisk(20), 50)
    await stand.datastore.tenantStore(stand.tenant).packs.retire()
    const [one, other] = (await packsOf(stand, 'data')) as [string, string]
    const chunks = indexedRecords(stand.folder, RECORD.chunk).filter(({ pack }) => pack === one)
    const ids = chunks.slice(0, 40).map(({ id }) => id)
    moveRecords(stand.folder, ids.slice(0, 20), other)
    shiftRecords(stand.folder, ids.slice(20))
    for (let time = 0; time < 3; time++) await collected(stand, { thresholdPercent: 100 })
    await expectWhole(stand, points)
  })

  test('all rows of a pack in another one: the pack that has none is looked at before it goes', async () => {
    await using stand = await Stand.open()
    const { points } = await furnish(stand)
    await stand.datastore.tenantStore(stand.tenant).packs.retire()
    await stand.point(await stand.machine('db2'), randomDisk(20), 50)
    await stand.datastore.tenantStore(stand.tenant).packs.retire()
    const [one, other] = (await packsOf(stand, 'data')) as [string, string]
    const all = indexedRecords(stand.folder).filter(({ pack }) => pack === one)
    moveRecords(
      stand.folder,
      all.map(({ id }) => id),
      other,
    )
    for (let time = 0; time < 3; time++) await collected(stand, { thresholdPercent: 100 })
    await expectWhole(stand, points)
  })

  test.each(Array.from({ length: 8 }, (_, index) => index))(
    'garbled pages (%i): an error that tells the way out',
    async (round) => {
      await using stand = await Stand.open()
      await furnish(stand)
      await stand.datastore.tenantStore(stand.tenant).packs.retire()
      settleCatalog(stand.folder)
      const catalog = path.join(stand.folder, CATALOG_NAME)
      const pages = Math.floor((await stat(catalog)).size / 4096)
      {
        // the index has most pages, and those at the end are its leaves
        await using handle = await open(catalog, 'r+')
        for (let page = pages - 1 - round; page > pages / 2; page -= 8)
          await handle.write(randomBytes(4096), 0, 4096, page * 4096)
      }
      const error = await refusal(collected(stand, { thresholdPercent: 100 }))
      expect(['CATALOG_DAMAGED', 'STORE_FAILED']).toContain(error.code)
      expect(error.message).toContain('repair --rebuild')
    },
  )
})

test('a pack that was let go of and is still there heals what became of its copies', async () => {
  await using stand = await Stand.open()
  const { points } = await furnish(stand)
  {
    using _armed = armFailpoints((name) => {
      if (name === 'unlink') throw Object.assign(new Error('busy'), { code: 'EBUSY' })
    })
    await expect(collected(stand, { thresholdPercent: 100 })).rejects.toThrow('busy')
  }
  const damager = new Damager(stand.folder)
  const victims = [points[1]!.plains[200]!, points[1]!.plains[201]!].map((plain) => stand.idOf(plain))
  const moved = await stand.datastore.tenantStore(stand.tenant).locate(victims)
  for (const id of victims) await damager.flip(id)
  await verify(stand)
  // only where the unlinked pack had them
  const doomed = await stand.datastore.tenantStore(stand.tenant).packs.doomed()
  expect([doomed.length, moved.length]).toEqual([1, 2])
  for (let time = 0; time < 2; time++) await collected(stand, { thresholdPercent: 100 })
  await expectWhole(stand, points)
})
