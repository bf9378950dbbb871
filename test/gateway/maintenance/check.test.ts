// Checks of packs against index and catalog: nothing to report where nothing is wrong, and each kind of difference by name.
import { randomBytes, randomUUID } from 'node:crypto'
import { appendFile, mkdir, open, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import type { CheckReport, MaintenanceProgress } from '../../../protocol/maintenance.ts'
import { encodePackHeader, RECORD, recordBytes } from '../../../gateway/packs/format.ts'
import { checkPacks } from '../../../gateway/maintenance/check.ts'
import {
  forgetRecords,
  indexedRecords,
  nameNoPack,
  setStateNumbers,
  shiftRecords,
} from '../../support/catalog-damage.ts'
import { Stand } from '../chains/script.ts'
import { changed, contextOf, randomDisk, removePoints } from './stand.ts'

const CLEAN = { dangling: 0, unknownPacks: 0, missingPacks: 0, unknownPoints: 0, problems: [], problemCount: 0 }

const check = (stand: Stand): Promise<CheckReport> => checkPacks(contextOf(stand), { bytesPerSecond: null })

interface PackPlace {
  readonly file: string
  readonly uuid: string
}

const packsOf = async (stand: Stand, kind: 'data' | 'nodes'): Promise<PackPlace[]> => {
  const rows = await stand.datastore.catalog.packs.list()
  return rows
    .filter((row) => row.kind === kind)
    .map(({ uuid }) => ({
      uuid,
      file: path.join(stand.folder, 'packs', stand.tenant.id, uuid.slice(0, 2), `${uuid}.pack`),
    }))
}

/** A stand with two restore points of one machine. */
const world = async (): Promise<{ stand: Stand; points: string[] }> => {
  const stand = await Stand.open()
  const machine = await stand.machine('one')
  const disk = randomDisk(20)
  const first = await stand.point(machine, disk)
  const second = await stand.point(machine, changed(disk, 4), 40)
  await stand.datastore.tenantStore(stand.tenant).writeState()
  return { stand, points: [first.id, second.id] }
}

test('a whole store has no problem, while an upload goes on too', async () => {
  const { stand } = await world()
  await using _ = stand
  const progress: MaintenanceProgress[] = []
  const job = await stand.job(await stand.machine('two'), 20 * 4096)
  const uploading = stand.uploadAll(job, randomDisk(20))
  const report = await checkPacks(contextOf(stand, progress), { bytesPerSecond: null })
  await uploading
  expect(report).toMatchObject(CLEAN)
  expect(report.packs).toBeGreaterThanOrEqual(2)
  expect(report.records).toBeGreaterThan(20)
  expect(progress.map(({ phase }) => phase)).toEqual(expect.arrayContaining(['examine', 'scan']))
  // superseded states are whole records that the index still has
  const again = await check(stand)
  expect(again).toMatchObject({ ...CLEAN, unindexed: { records: 0, bytes: 0 } })
  expect(again.bytes).toBe((await stand.datastore.catalog.packs.list()).reduce((sum, { bytes }) => sum + bytes, 0))
})

test('records that left the index are unindexed, rows without their record dangle', async () => {
  const { stand } = await world()
  await using _ = stand
  const { folder } = stand
  const chunks = indexedRecords(folder, RECORD.chunk)
  const { id, stored } = chunks[0]!
  forgetRecords(folder, [id])
  expect(await check(stand)).toMatchObject({ ...CLEAN, unindexed: { records: 1, bytes: recordBytes(stored) } })
  shiftRecords(folder, [chunks[1]!.id])
  const report = await check(stand)
  expect(report).toMatchObject({ dangling: 1, problemCount: 1, unindexed: { records: 2 } })
  expect(report.problems[0]).toContain('lacks 1 records')
  nameNoPack(folder, [chunks.at(-1)!.id])
  expect(await check(stand)).toMatchObject({ dangling: 2, problemCount: 2 })
})

test('a flipped bit, a shortened pack, a damaged header and a pack that is gone are named', async () => {
  const { stand } = await world()
  await using _ = stand
  const [{ file, uuid }] = (await packsOf(stand, 'data')) as [PackPlace]
  {
    await using handle = await open(file, 'r+')
    await handle.write(randomBytes(8), 0, 8, 5000)
    await handle.write(Buffer.from('x'), 0, 1, 3)
  }
  const flipped = await check(stand)
  expect(flipped).toMatchObject({ dangling: 1, problemCount: 3 })
  expect(flipped.problems.every((problem) => problem.includes(uuid))).toBe(true)
  await truncate(file, (await stat(file)).size - 100)
  expect((await check(stand)).problems.join('\n')).toContain('the pack is shorter')
  await rm(file)
  const gone = await check(stand)
  expect(gone).toMatchObject({ missingPacks: 1, problemCount: 1 })
  expect(gone.dangling).toBe(21)
})

test('a file that the catalog does not know is named; the torn end of a write is none', async () => {
  const { stand } = await world()
  await using _ = stand
  const { id: tenant } = stand.tenant
  const uuid = randomUUID()
  const folder = path.join(stand.folder, 'packs', tenant, uuid.slice(0, 2))
  await mkdir(folder, { recursive: true })
  await writeFile(path.join(folder, `${uuid}.pack`), encodePackHeader({ kind: 'data', tenant, pack: uuid }))
  expect(await check(stand)).toMatchObject({ unknownPacks: 1, problems: [`pack ${uuid} is not in the catalog`] })
  await rm(path.join(folder, `${uuid}.pack`))
  const [{ file }] = (await packsOf(stand, 'data')) as [PackPlace]
  const header = Buffer.alloc(60)
  header.write('VREC')
  header.writeUInt8(1, 40)
  header.writeUInt32LE(4096, 44)
  header.writeUInt32LE(4096, 48)
  await stand.datastore[Symbol.asyncDispose]()
  await appendFile(file, header)
  await stand.reopen()
  expect(await check(stand)).toMatchObject(CLEAN)
})

test('a restore point that the catalog lost is missed, one that was pruned is not; a catalog behind the packs is told the way out', async () => {
  const { stand, points } = await world()
  await using _ = stand
  const store = stand.datastore.tenantStore(stand.tenant)
  const [pruned, kept] = points as [string, string]
  removePoints(stand, pruned)
  await store.writeState()
  expect(await check(stand)).toMatchObject(CLEAN)
  setStateNumbers(stand.folder, 1)
  removePoints(stand, kept)
  const report = await check(stand)
  expect(report).toMatchObject({ unknownPoints: 1, problemCount: 2 })
  expect(report.problems.join('\n')).toContain(kept)
  expect(report.problems.join('\n')).toContain('repair --rebuild')
})

test('packs that were cut before their header, or whose end went with the power, hold nothing that is missed', async () => {
  const { stand } = await world()
  await using _ = stand
  const { id: tenant } = stand.tenant
  const { catalog } = stand.datastore
  for (const bytes of [0, 7, 47, 48, 300]) {
    const uuid = randomUUID()
    await catalog.packs.add({ tenant: stand.tenant.id, kind: 'data', uuid, nowMs: 1 })
    const folder = path.join(stand.folder, 'packs', tenant, uuid.slice(0, 2))
    await mkdir(folder, { recursive: true })
    await writeFile(path.join(folder, `${uuid}.pack`), Buffer.alloc(bytes))
  }
  const [{ file }] = (await packsOf(stand, 'data')) as [PackPlace]
  await stand.datastore[Symbol.asyncDispose]()
  await appendFile(file, randomBytes(900))
  await stand.reopen()
  expect(await check(stand)).toMatchObject(CLEAN)
})

test('two packs that changed places are named, by the start and by the check', async () => {
  const { stand } = await world()
  await using _ = stand
  const [data] = (await packsOf(stand, 'data')) as [PackPlace]
  const [nodes] = (await packsOf(stand, 'nodes')) as [PackPlace]
  await stand.datastore[Symbol.asyncDispose]()
  await rename(data.file, `${data.file}.moved`)
  await rename(nodes.file, data.file)
  await rename(`${data.file}.moved`, nodes.file)
  await stand.reopen()
  const says = (one: PackPlace, other: PackPlace): string =>
    `pack ${one.uuid}: its file holds another pack, ${other.uuid}`
  const expected = [says(data, nodes), says(nodes, data)].map((text) => expect.stringContaining(text) as string)
  expect(stand.datastore.report.misplaced).toEqual(expect.arrayContaining(expected))
  expect((await check(stand)).problems).toEqual(expect.arrayContaining(expected))
})

test('ends with the reason of its signal', async () => {
  const { stand } = await world()
  await using _ = stand
  const signal = AbortSignal.abort(new VarveError('CANCELLED', 'enough'))
  const ended = checkPacks(contextOf(stand, [], signal), { bytesPerSecond: null })
  await expect(ended).rejects.toMatchObject({ code: 'CANCELLED' })
})
