// Rebuilds: the catalog deleted, truncated, rolled back or damaged, packs hurt in every way; what comes back is what was
// there, and what does not is listed.
import { announced } from '../../support/announced.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { appendFile, cp, mkdir, open, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { checkDataFolder } from '../../../gateway/datastore/data-folder.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import {
  encodePackHeader,
  PACK_HEADER_BYTES,
  parseRecord,
  RECORD,
  recordBytes,
  type RecordType,
} from '../../../gateway/packs/format.ts'
import { manifestOf } from '../../../gateway/catalog/manifest.ts'
import { rebuild } from '../../../gateway/maintenance/rebuild.ts'
import type { RebuildReport } from '../../../gateway/maintenance/rebuild-report.ts'
import { sizeOf, Stand, type Plains } from '../chains/script.ts'
import { revokeAgent, setPlan, startJob } from '../catalog.ts'
import { packedRows, rowsBeside, setSchemaVersion } from '../../support/catalog-damage.ts'
import { Dice } from '../../support/model-dice.ts'
import {
  addTenant,
  CHUNK_BYTES,
  memoryLog,
  newManifest,
  openDatastore,
  temporaryFolder,
  touch,
} from '../datastore/fixture.ts'
import { changed, randomDisk, readImage, removePoints } from './stand.ts'

const ENTRY = { timeMs: 1, subject: 's', role: 'owner', resource: 'r', outcome: 'ok', details: {} }

const TOKEN = { subject: 's', role: 'owner', nowMs: 1, expiresMs: 2 } as const

const catalogOf = (folder: string): string => path.join(folder, CATALOG_NAME)

const run = (folder: string, options: Partial<Parameters<typeof rebuild>[0]> = {}): Promise<RebuildReport> =>
  rebuild({ folder, log: memoryLog(), nowMs: () => 5000, ...options })

interface World extends AsyncDisposable {
  readonly stand: Stand
  readonly folder: string
  /** Content of each restore point that is kept. */
  readonly points: ReadonlyMap<string, { root: Uint8Array | null; plains: Plains }>
  readonly pruned: string
  readonly held: string
}

/** Two machines with five points: one held, one locked, one pruned; all states written. The gateway is stopped. */
const world = async (): Promise<World> => {
  const stand = await Stand.open()
  const { folder, tenant } = stand
  const { catalog } = stand.datastore
  await catalog.settings.init({ name: 'gateway', value: randomUUID() })
  const points = new Map<string, { root: Uint8Array | null; plains: Plains }>()
  const add = async (
    machine: Awaited<ReturnType<Stand['machine']>>,
    plains: Plains,
    nowMs: number,
  ): Promise<string> => {
    const { id, root } = await stand.point(machine, plains, nowMs)
    points.set(id, { root, plains })
    return id
  }
  const [one, two] = [await stand.machine('one'), await stand.machine('two')]
  const disk: Plains = [...randomDisk(70), null, null, ...randomDisk(3)]
  const pruned = await add(one, disk, 30)
  const held = await add(one, changed(disk, 1, 71), 40)
  const locked = await add(two, changed(disk, 2, 69), 50)
  const last = await add(two, Array<null>(5).fill(null), 60)
  await catalog.jobs.missed({ job: last, agent: two.agent, disk: 'vda' })
  await catalog.points.hold({ tenant: tenant.id, id: held, held: true })
  await catalog.points.lock({ tenant: tenant.id, id: locked, untilMs: 99_000 })
  await catalog.machines.setGroup({ tenant: tenant.id, name: 'one', group: 'g' })
  await setPlan(catalog, tenant, 'kept', { keep: { last: 3 } }, { groups: ['g'] })
  const exclusion = { by: 'ann', reason: 'rebuilt', sinceMs: 5, untilMs: null }
  await catalog.plans.exclude({ tenant: tenant.id, machine: 'two', exclusion })
  removePoints(stand, pruned)
  points.delete(pruned)
  await stand.datastore.tenantStore(tenant).writeState()
  // newer than the state
  await add(one, changed(disk, 5), 70)
  await stand.datastore[Symbol.asyncDispose]()
  return { stand, folder, points, pruned, held, [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose]() }
}

const expectPoints = async ({ stand, points }: World, except: readonly string[] = []): Promise<void> => {
  await stand.reopen()
  expect(stand.datastore.report).toMatchObject({ damaged: [], unknownCount: 0 })
  for (const [id, { root, plains }] of points) {
    if (except.includes(id)) continue
    const read = await readImage(stand, root, plains.length)
    expect(read.map((plain) => plain && Buffer.from(plain))).toEqual(plains.map((plain) => plain && Buffer.from(plain)))
  }
  await stand.datastore[Symbol.asyncDispose]()
}

const damageOf = async ({ folder, stand }: World) => {
  using catalog = openLocal(catalogOf(folder))
  return await catalog.damage.page({ tenant: stand.tenant.id, after: null, limit: 99 })
}

const isIndexed = async ({ folder, stand }: World, id: string): Promise<boolean> => {
  using catalog = openLocal(catalogOf(folder))
  return (await catalog.records.indexed({ tenant: stand.tenant.id, ids: Buffer.from(id, 'hex') }))[0] === 1
}

const dropCatalog = async (folder: string): Promise<void> => {
  for (const suffix of ['', '-wal', '-shm']) await rm(`${catalogOf(folder)}${suffix}`, { force: true })
}

interface Place {
  readonly file: string
  readonly offset: number
  readonly length: number
  readonly id: string
}

/** Records of a type in all packs. */
const recordsOf = async (folder: string, type: RecordType): Promise<Place[]> => {
  const places: Place[] = []
  for (const name of await readdir(path.join(folder, 'packs'), { recursive: true })) {
    if (!name.endsWith('.pack')) continue
    const file = path.join(folder, 'packs', name)
    const bytes = await readFile(file)
    for (let offset = PACK_HEADER_BYTES; offset < bytes.length;) {
      const record = parseRecord(bytes, offset)
      const length = recordBytes(record.storedLength, record.parts.length)
      if (record.type === type)
        places.push({ file, offset, length, id: Buffer.from(record.parts[0]!.id).toString('hex') })
      offset += length
    }
  }
  return places
}

const hurt = async ({ file, offset, length }: Place): Promise<void> => {
  await using handle = await open(file, 'r+')
  await handle.write(randomBytes(4), 0, 4, offset + length - 5)
}

const nothingLost = (report: RebuildReport): void => {
  for (const list of [
    'unreadable',
    'unknownFiles',
    'incompletePoints',
    'lostPoints',
    'withoutState',
    'remarks',
  ] as const)
    expect([list, report[list].rows]).toEqual([list, []])
  expect(report.missingRecords).toBe(0)
}

describe('of packs alone', () => {
  test('every row of tenants, agents, machines, points and index is as it was; what was pruned stays away', async () => {
    await using place = await world()
    const before = packedRows(place.folder)
    await dropCatalog(place.folder)
    await expect(openDatastore(place.folder)).rejects.toMatchObject({ code: 'CATALOG_MISSING' })
    const progress: number[] = []
    const report = await run(place.folder, { onProgress: ({ done, total }) => void progress.push(done / total!) })
    expect(packedRows(place.folder)).toEqual(before)
    expect(before.point).toHaveLength(4)
    expect(before.missed).toHaveLength(1)
    expect(before.gateway).toHaveLength(1)
    nothingLost(report)
    expect(report).toMatchObject({
      tenants: 1,
      machines: 2,
      points: 4,
      prunedPoints: 1,
      replaced: null,
      takenFrom: null,
    })
    expect(progress.at(-1)).toBe(1)
    await expectPoints(place)
  })

  test('a second time gives the same, with states and points written between', async () => {
    await using place = await world()
    await dropCatalog(place.folder)
    await run(place.folder)
    const { stand } = place
    await stand.reopen()
    const machine = await stand.datastore.catalog.machines.get({ tenant: stand.tenant.id, name: 'one' })
    const plains = randomDisk(4)
    const { id, root } = await stand.point(machine, plains, 80)
    ;(place.points as Map<string, { root: Uint8Array | null; plains: Plains }>).set(id, { root, plains })
    removePoints(stand, place.held)
    await stand.datastore.tenantStore(stand.tenant).writeState()
    await stand.datastore[Symbol.asyncDispose]()
    const before = packedRows(place.folder)
    await dropCatalog(place.folder)
    nothingLost(await run(place.folder))
    expect(packedRows(place.folder)).toEqual(before)
    await expectPoints(place)
  })

  test('the order of creation outlives it, also where a clock was ahead, and goes on behind it', async () => {
    await using stand = await Stand.open()
    const machine = await stand.machine('one')
    const made: string[] = []
    for (const nowMs of [30, 9_000_000, 40, 50]) made.push((await stand.point(machine, randomDisk(2), nowMs)).id)
    await stand.datastore.tenantStore(stand.tenant).writeState()
    await stand.datastore[Symbol.asyncDispose]()
    await dropCatalog(stand.folder)
    await run(stand.folder)
    await stand.reopen()
    const row = await stand.datastore.catalog.machines.get({ tenant: stand.tenant.id, name: 'one' })
    expect(row.pointId).toBe(made[3])
    made.push((await stand.point(row, randomDisk(2), 60)).id)
    const points = await stand.datastore.catalog.retention.points({ tenant: stand.tenant.id, machine: 'one' })
    expect(points.map(({ id }) => id)).toEqual(made.toReversed())
  })

  test('a backup that was under way when the state was written comes back once it is committed', async () => {
    await using stand = await Stand.open()
    const machine = await stand.machine('one')
    const store = stand.datastore.tenantStore(stand.tenant)
    const plains = randomDisk(3)
    const job = await stand.job(machine, sizeOf(plains))
    await stand.uploadAll(job, plains)
    // its manifest names the state before, as if it had been written at the same moment
    using manifest = await store.writeManifest(
      manifestOf(await stand.datastore.catalog.jobs.complete({ job: job.id, agent: machine.agent }), {
        bytesRead: 0,
        nowMs: 30,
        lockedUntilMs: null,
      }),
    )
    await stand.machine('two')
    await store.writeState()
    const figures = { bytesRead: 0, nowMs: 30, lockedUntilMs: null }
    await stand.datastore.catalog.jobs.commit({
      job: job.id,
      agent: machine.agent,
      ...figures,
      manifest: manifest.id,
    })
    await stand.datastore[Symbol.asyncDispose]()
    const before = packedRows(stand.folder)
    await dropCatalog(stand.folder)
    const report = await run(stand.folder)
    expect(report).toMatchObject({ points: 1, prunedPoints: 0 })
    expect(packedRows(stand.folder)).toEqual(before)
  })

  test('an agent that asks what became of its backup is told that it was committed', async () => {
    await using place = await world()
    const [point] = place.points.keys()
    await dropCatalog(place.folder)
    await run(place.folder)
    await place.stand.reopen()
    const { catalog } = place.stand.datastore
    const { agent } = await catalog.points.find({ tenant: place.stand.tenant.id, agent: null, prefix: point! })
    const { states } = await catalog.jobs.reconcile({ agent, jobs: [point!], handed: [], nowMs: 1 })
    expect(states).toEqual([{ job: point, state: 'committed' }])
  })
})

describe('with an old catalog', () => {
  test('audit log, tokens, enrolments, jobs and uploads are taken over, and the old one is kept', async () => {
    await using place = await world()
    {
      using catalog = openLocal(catalogOf(place.folder))
      const { id: tenant } = place.stand.tenant
      await catalog.audit.appendAll({ records: ['a', 'b'].map((action) => ({ ...ENTRY, tenant, action })) })
      await catalog.tokens.add({ ...TOKEN, id: 't', tenant })
      await catalog.tokens.add({ ...TOKEN, id: 'p', tenant: null, role: 'platform' })
    }
    const before = packedRows(place.folder)
    const besides = rowsBeside(place.folder)
    const bytes = await readFile(catalogOf(place.folder))
    const report = await run(place.folder)
    nothingLost(report)
    expect(report).toMatchObject({ replaced: 'catalog.db.replaced-1', takenFrom: 'catalog.db' })
    expect(packedRows(place.folder)).toEqual(before)
    const { audit, ...rest } = rowsBeside(place.folder)
    expect(rest).toEqual(Object.fromEntries(Object.entries(besides).filter(([name]) => name !== 'audit')))
    expect(audit.slice(0, -1)).toEqual(besides.audit)
    expect(audit.at(-1)).toMatchObject({ action: 'store.rebuild' })
    expect(await readFile(path.join(place.folder, 'catalog.db.replaced-1'))).toEqual(bytes)
    await place.stand.reopen()
    expect(await place.stand.datastore.catalog.audit.check({ after: null })).toMatchObject({ brokenSeq: null })
    await expectPoints(place)
  })

  test('an old copy brings back nothing that was pruned and hides nothing that came later', async () => {
    await using place = await world()
    const { stand, folder } = place
    const now = packedRows(folder)
    // the copy of before the prune: that point is in it
    const copy = path.join(folder, 'copy')
    await cp(catalogOf(folder), copy)
    await stand.reopen()
    const victim = [...place.points.keys()].find((id) => id !== place.held)!
    removePoints(stand, victim)
    const agent = await stand.machine('three')
    await revokeAgent(stand.datastore.catalog, stand.tenant, agent.agent)
    await stand.datastore.tenantStore(stand.tenant).writeState()
    const later = await stand.point(await stand.machine('four'), randomDisk(2), 90)
    await stand.datastore[Symbol.asyncDispose]()
    const before = packedRows(folder)
    await dropCatalog(folder)
    await rename(copy, catalogOf(folder))
    const report = await run(folder)
    nothingLost(report)
    expect(packedRows(folder)).toEqual(before)
    const ids = packedRows(folder).point.map(({ id }) => id)
    expect(ids).toContain(later.id)
    expect(ids).not.toContain(victim)
    expect(now.point.map(({ id }) => id)).toContain(victim)
  })

  test('a lock is never shortened and a revocation never undone by a copy that does not know of it, nor by a state', async () => {
    await using place = await world()
    const { folder } = place
    const { id: tenant } = place.stand.tenant
    const asked = { tenant, agent: null, machine: null, before: null, limit: 99 }
    const locked = async (catalog: Catalog) =>
      (await catalog.points.list(asked)).points.filter(({ lockedUntilMs }) => lockedUntilMs !== null)
    const agents = (catalog: Catalog) => catalog.agents.list({ tenant, after: null, limit: 99 })
    {
      using catalog = openLocal(catalogOf(folder))
      for (const { id } of await locked(catalog)) await catalog.points.lock({ tenant, id, untilMs: 200_000 })
      for (const { id } of await agents(catalog)) await catalog.agents.revoke({ tenant, id, nowMs: 77 })
    }
    await run(folder)
    using catalog = openLocal(catalogOf(folder))
    expect((await locked(catalog)).map(({ lockedUntilMs }) => lockedUntilMs)).toEqual([200_000])
    expect((await agents(catalog)).map(({ revokedMs }) => revokedMs)).toEqual([77, 77])
  })

  test.each([
    [
      'truncated to its half',
      async (file: string) => truncate(file, Math.floor((await stat(file)).size / 8192) * 4096),
    ],
    ['empty', async (file: string) => truncate(file, 0)],
    ['overwritten with noise', async (file: string) => writeFile(file, randomBytes(50_000))],
  ])('a catalog that is %s is refused with the way out, and rebuilt', async (_, damage) => {
    await using place = await world()
    const before = packedRows(place.folder)
    await damage(catalogOf(place.folder))
    const refused = await openDatastore(place.folder).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(VarveError)
    expect((refused as VarveError).code).toMatch(/^CATALOG_(MISSING|DAMAGED)$/u)
    expect((refused as VarveError).message).toContain('varve-gateway repair --rebuild')
    await run(place.folder)
    expect(packedRows(place.folder)).toEqual(before)
    await expectPoints(place)
  })

  test('a catalog of which some pages are noise gives what can be read, and says what could not', async () => {
    await using place = await world()
    const before = packedRows(place.folder)
    const file = catalogOf(place.folder)
    const pages = (await stat(file)).size / 4096
    await using handle = await open(file, 'r+')
    for (let page = 8; page < pages; page += 3) await handle.write(randomBytes(4096), 0, 4096, page * 4096)
    await handle.close()
    await run(place.folder)
    expect(packedRows(place.folder)).toEqual(before)
  })

  test('a later program’s catalog is left alone', async () => {
    await using place = await world()
    setSchemaVersion(place.folder, 1000)
    const before = await readFile(catalogOf(place.folder))
    await expect(run(place.folder)).rejects.toMatchObject({ code: 'STORE_VERSION' })
    expect(await readFile(catalogOf(place.folder))).toEqual(before)
  })
})

describe('damaged packs', () => {
  test('a damaged chunk, node or torn tail is listed, and so are the points that lack it', async () => {
    await using place = await world()
    const { folder } = place
    const before = packedRows(folder)
    const chunks = await recordsOf(folder, RECORD.chunk)
    await hurt(chunks[3]!)
    await truncate(chunks[0]!.file, (await stat(chunks[0]!.file)).size - 10)
    await dropCatalog(folder)
    const report = await run(folder)
    expect(report.unreadable.rows).toHaveLength(2)
    expect(report.unreadable.rows.map(({ length }) => length)).toContain(chunks[3]!.length)
    expect(report.incompletePoints.count).toBeGreaterThan(0)
    expect(report.missingRecords).toBe(2)
    const damage = await damageOf(place)
    expect(damage).toHaveLength(2)
    expect(damage.map(({ id }) => id)).toContain(chunks[3]!.id)
    expect(damage[0]).toMatchObject({ type: 'chunk', reason: 'missing' })
    const after = packedRows(folder)
    expect(after.point).toEqual(before.point)
    expect(after.chunk).toHaveLength(before.chunk.length - 2)
  })

  test('without its manifest a point is listed as lost, or taken from the old catalog', async () => {
    await using place = await world()
    const { folder } = place
    const before = packedRows(folder)
    const [held] = before.point.filter(({ id }) => id === place.held)
    const manifests = await recordsOf(folder, RECORD.manifest)
    await hurt(manifests.find(({ id }) => id === Buffer.from(held!['manifest'] as Uint8Array).toString('hex'))!)
    await cp(catalogOf(folder), path.join(folder, 'copy'))
    await dropCatalog(folder)
    const alone = await run(folder)
    expect(alone.lostPoints.rows.map(({ point }) => point)).toEqual([place.held])
    expect(alone.points).toBe(3)
    await dropCatalog(folder)
    await rename(path.join(folder, 'copy'), catalogOf(folder))
    const report = await run(folder)
    expect(report.lostPoints.rows).toEqual([])
    expect(report.catalogPoints.rows.map(({ point }) => point)).toEqual([place.held])
    const after = packedRows(folder)
    expect(after.point).toEqual(before.point)
    expect(after.image).toEqual(before.image)
    await expectPoints(place)
  })

  test('without any state a tenant’s packs are left alone and listed; with the old catalog all is there', async () => {
    await using place = await world()
    const { folder } = place
    const before = packedRows(folder)
    for (const state of await recordsOf(folder, RECORD.state)) await hurt(state)
    const copy = path.join(folder, 'copy')
    await cp(catalogOf(folder), copy)
    await dropCatalog(folder)
    const alone = await run(folder)
    expect(alone).toMatchObject({ tenants: 0, points: 0 })
    expect(alone.withoutState.rows).toMatchObject([{ tenant: place.stand.tenant.id, packs: 2 }])
    // nothing was lost by that
    await dropCatalog(folder)
    await rename(copy, catalogOf(folder))
    const report = await run(folder)
    expect(report.withoutState.rows).toMatchObject([{ tenant: 'acme' }])
    const { point, machine, agent, tenant } = packedRows(folder)
    expect({ point, machine, agent, tenant }).toEqual({
      point: before.point,
      machine: before.machine,
      agent: before.agent,
      tenant: before.tenant,
    })
    await expectPoints(place)
  })

  test('an older state is taken where the newest is damaged', async () => {
    await using place = await world()
    const states = await recordsOf(place.folder, RECORD.state)
    await hurt(states.at(-1)!)
    await dropCatalog(place.folder)
    const report = await run(place.folder)
    expect(report.unreadable.count).toBe(1)
    expect(report.tenants).toBe(1)
    await expectPoints(place)
  })

  test('a damaged header hides no record; foreign, newer and misplaced packs are listed', async () => {
    await using place = await world()
    const { folder, stand } = place
    const [chunk] = await recordsOf(folder, RECORD.chunk)
    const before = packedRows(folder)
    {
      await using handle = await open(chunk!.file, 'r+')
      await handle.write(Buffer.from('x'), 0, 1, 20)
    }
    const { id: uuid } = stand.tenant
    const strangers = path.join(folder, 'packs', uuid, '00')
    await mkdir(strangers, { recursive: true })
    const newer = Buffer.from(encodePackHeader({ kind: 'data', tenant: uuid, pack: randomUUID() }))
    newer.writeUInt16LE(9, 8)
    newer.writeUInt32LE(crc32(newer.subarray(0, 44)), 44)
    await writeFile(path.join(strangers, '00000000-0000-4000-8000-000000000000.pack'), newer)
    await writeFile(path.join(strangers, 'notes.txt'), 'mine')
    await writeFile(path.join(strangers, '00000000-0000-4000-8000-000000000001.pack'), randomBytes(9000))
    await dropCatalog(folder)
    const report = await run(folder)
    expect(report.unknownFiles.rows).toHaveLength(2)
    expect(report.unreadable.rows.map(({ offset, length }) => [offset, length]).sort()).toEqual([
      [0, PACK_HEADER_BYTES],
      [0, 9000],
    ])
    expect(packedRows(folder).chunk).toEqual(before.chunk)
    expect(report.incompletePoints.count).toBe(0)
  })

  test('what looks like a record inside a damaged one is not believed', async () => {
    await using place = await world()
    const { folder } = place
    // a guest's disk that holds the whole pack of this gateway: its content has an id of this tenant, and other bytes
    const [chunk] = await recordsOf(folder, RECORD.chunk)
    const bytes = await readFile(chunk!.file)
    const inner = Buffer.from(bytes.subarray(chunk!.offset, chunk!.offset + chunk!.length))
    inner.fill(7, 60)
    inner.writeUInt32LE(crc32(inner.subarray(8)), 4)
    await appendFile(chunk!.file, Buffer.concat([Buffer.from('garbage'), inner]))
    await hurt(chunk!)
    await dropCatalog(folder)
    const report = await run(folder)
    expect(report.unreadable.rows.at(-1)!.problem).toContain('another id')
    expect(await isIndexed(place, chunk!.id)).toBe(false)
  })

  test('damage that was known stays damage unless the packs have a good copy', async () => {
    await using place = await world()
    const { folder } = place
    const [bad, good] = await recordsOf(folder, RECORD.chunk)
    // the checksum is right and the content is not: only the id tells
    const bytes = await readFile(bad!.file)
    const record = bytes.subarray(bad!.offset, bad!.offset + bad!.length)
    record.fill(7, 60)
    record.writeUInt32LE(crc32(record.subarray(8)), 4)
    await writeFile(bad!.file, bytes)
    {
      using catalog = openLocal(catalogOf(folder))
      const pack = path.basename(bad!.file, '.pack')
      const records = [bad!, good!].map(({ id, offset }) => ({
        id: Buffer.from(id, 'hex'),
        type: RECORD.chunk,
        place: { pack, offset },
        reason: 'was bad',
      }))
      const entered = await catalog.damage.enter({ tenant: place.stand.tenant.id, nowMs: 5, records })
      expect([...entered]).toEqual([1, 1])
    }
    await run(folder)
    expect((await damageOf(place)).map(({ id }) => id)).toEqual([bad!.id])
    expect(await isIndexed(place, good!.id)).toBe(true)
  })
})

test('of a bundle with a chunk that was known to be damaged, the others stay', async () => {
  await using stand = await Stand.open()
  stand.together = 4
  // nothing compresses
  const plains = randomDisk(4)
  await stand.point(await stand.machine('db1'), plains)
  const { folder, tenant } = stand
  const { pack, offset } = (await stand.datastore.tenantStore(tenant).locate([stand.idOf(plains[2]!)]))[0]!
  await stand.datastore[Symbol.asyncDispose]()
  const file = path.join(folder, 'packs', tenant.id, pack.slice(0, 2), `${pack}.pack`)
  const bytes = await readFile(file)
  const record = bytes.subarray(offset, offset + recordBytes(4 * CHUNK_BYTES, 4))
  record[recordBytes(2 * CHUNK_BYTES, 4)]! ^= 1
  record.writeUInt32LE(crc32(record.subarray(8)), 4)
  await writeFile(file, bytes)
  {
    using catalog = openLocal(catalogOf(folder))
    const bad = { id: stand.idOf(plains[2]!), type: RECORD.chunk, place: { pack, offset }, reason: 'was bad' }
    await catalog.damage.enter({ tenant: tenant.id, nowMs: 5, records: [bad] })
  }
  const report = await run(folder)
  expect(report.unreadable.rows[0]!.problem).toContain('another id')
  using catalog = openLocal(catalogOf(folder))
  const ids = Buffer.concat(plains.map((plain) => stand.idOf(plain)))
  expect([...(await catalog.records.indexed({ tenant: tenant.id, ids }))]).toEqual([1, 1, 0, 1])
})

describe('random damage', () => {
  test('whatever was done to the packs: nothing is made up, nothing whole is lost, all else is listed', async () => {
    await using place = await world()
    const { folder } = place
    const before = packedRows(folder)
    const name = (row: (typeof before.chunk)[number]): string => Buffer.from(row['id'] as Uint8Array).toString('hex')
    const known = new Map(before.chunk.map((row) => [name(row), row]))
    const dice = new Dice(Number(process.env['VARVE_SEED'] ?? 5))
    for (let round = 0; round < 8; round++) {
      await using copy = await temporaryFolder()
      await cp(path.join(folder, 'packs'), path.join(copy.path, 'packs'), { recursive: true })
      const files = (await readdir(path.join(copy.path, 'packs'), { recursive: true }))
        .filter((file) => file.endsWith('.pack'))
        .map((file) => path.join(copy.path, 'packs', file))
      const hits: { file: string; from: number; to: number }[] = []
      for (let hit = 0; hit < 1 + dice.below(6); hit++) {
        const file = dice.pick(files)
        const { size } = await stat(file)
        const from = dice.below(size)
        const to = Math.min(size, from + 1 + dice.below(dice.pick([2, 600, 20_000])))
        if (dice.chance(0.2)) {
          await truncate(file, from)
          hits.push({ file, from, to: size })
          continue
        }
        await using handle = await open(file, 'r+')
        const bytes = dice.chance(0.5) ? dice.bytes(to - from) : Buffer.alloc(to - from, dice.chance(0.5) ? 'VREC' : 0)
        await handle.write(bytes, 0, bytes.length, from)
        hits.push({ file, from, to })
      }
      const report = await run(copy.path)
      const found = new Map(packedRows(copy.path).chunk.map((row) => [name(row), row]))
      for (const [id, row] of found) expect(row).toEqual(known.get(id))
      // without its key nothing of a tenant can be told from noise
      if (report.tenants === 0) continue
      for (const [id, row] of known) {
        const [offset, end] = [Number(row['offset']), Number(row['offset']) + recordBytes(Number(row['stored']))]
        const hurt = hits.some(
          ({ file, from, to }) => path.basename(file, '.pack') === row['uuid'] && from < end && to > offset,
        )
        if (!hurt) expect([dice.seed, round, found.has(id)]).toEqual([dice.seed, round, true])
      }
      expect(report.unreadable.count).toBeGreaterThan(0)
      await touch(openDatastore(copy.path))
    }
  })
})

describe('several tenants', () => {
  test('each has its own, under its own row id; who is named by a restore point alone is made up and told', async () => {
    await using place = await world()
    const { stand, folder } = place
    await stand.reopen()
    const { datastore } = stand
    await addTenant(datastore, 'unused')
    const other = await addTenant(datastore, 'other')
    const store = datastore.tenantStore(other)
    const manifest = newManifest({ machine: 'ghost', timeMs: 9 })
    using kept = await store.writeManifest(manifest)
    await datastore[Symbol.asyncDispose]()
    const before = packedRows(folder)
    await dropCatalog(folder)
    const report = await run(folder)
    const after = packedRows(folder)
    // one that never had a pack is gone
    expect(after.tenant).toEqual(before.tenant.filter((row) => row['name'] !== 'unused'))
    const ghost = after.point.find((row) => row['id'] === manifest.point)
    expect(ghost).toMatchObject({
      tenant: before.tenant.find(({ uuid }) => uuid === other.id)!['id'],
      time_ms: 9,
      manifest: kept.id,
    })
    expect(after.point).toHaveLength(before.point.length + 1)
    expect(after.machine.find((row) => row['id'] === ghost!['machine'])).toMatchObject({ name: 'ghost' })
    expect(after.agent.find((row) => row['id'] === manifest.agent)).toMatchObject({ revoked_ms: 1 })
    expect(report.remarks.rows).toEqual([expect.stringContaining('machine ghost')])
    await expectPoints(place)
  })

  test('a state of several parts is one state; without one of them nothing that it may have named is dropped', async () => {
    await using place = await world()
    const { stand, folder } = place
    await stand.reopen()
    const { catalog } = stand.datastore
    const plans = Array.from({ length: 80 }, (_, index) => {
      const machines = Array.from({ length: 950 }, (_, at) => `m${index}-${at}`.padEnd(63, 'x'))
      return { name: `plan${index}`, covers: { machines } }
    })
    await catalog.plans.apply({ tenant: stand.tenant.id, plans, merge: true })
    await stand.datastore.tenantStore(stand.tenant).writeState()
    await stand.datastore[Symbol.asyncDispose]()
    const before = packedRows(folder)
    {
      using catalog = openLocal(catalogOf(folder))
      expect((await catalog.states.records({ tenant: stand.tenant.id })).length).toBe(64)
    }
    await dropCatalog(folder)
    nothingLost(await run(folder))
    expect(packedRows(folder)).toEqual(before)
    await dropCatalog(folder)
    await hurt((await recordsOf(folder, RECORD.state)).at(-1)!)
    const report = await run(folder)
    expect(report.withoutState.rows).toMatchObject([{ problem: expect.stringContaining('part') as string }])
    expect(report.points).toBeGreaterThanOrEqual(before.point.length)
  })
})

test('a site is a grant that a rebuilt catalog has, and one that was taken back stays so; the uuids of machines are there too', async () => {
  await using place = await world()
  const { stand, folder } = place
  const { id: tenant } = stand.tenant
  const uuid = randomUUID()
  await stand.reopen()
  const { catalog } = stand.datastore
  const [one, two] = (await catalog.agents.list({ tenant, after: null, limit: 99 })).map(({ id }) => id)
  for (const id of [one!, two!]) await catalog.agents.setSite({ tenant, id, site: 'dc1' })
  const { name, agent } = (await catalog.machines.list({ tenant, agent: null, after: null, limit: 1 }))[0]!
  await catalog.machines.declare({ tenant, agent, machines: [announced(name, { uuid })], nowMs: 3 })
  await stand.datastore.tenantStore(stand.tenant).writeState()
  await catalog.agents.setSite({ tenant, id: two!, site: null })
  await stand.datastore.tenantStore(stand.tenant).writeState()
  await stand.datastore[Symbol.asyncDispose]()
  const rebuilt = async (): Promise<unknown> => {
    nothingLost(await run(folder))
    using again = openLocal(catalogOf(folder))
    const sites = (await again.agents.list({ tenant, after: null, limit: 99 })).map(({ id, site }) => [id, site])
    return [Object.fromEntries(sites), (await again.machines.get({ tenant, name })).uuid]
  }
  const expected = [{ [one!]: 'dc1', [two!]: null }, uuid]
  // beside the catalog that is there, and without one
  expect(await rebuilt()).toEqual(expected)
  await dropCatalog(folder)
  expect(await rebuilt()).toEqual(expected)
})

describe('interrupted', () => {
  test('a running gateway is not disturbed; a folder without packs is refused', async () => {
    await using place = await world()
    await place.stand.reopen()
    await expect(run(place.folder)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
    await using empty = await temporaryFolder()
    await expect(run(empty.path)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await touch(openDatastore(empty.path))
    expect(await run(empty.path)).toMatchObject({ tenants: 0, packs: 0 })
  })

  test('at any step of progress the old catalog is untouched, and the next one is whole', async () => {
    await using place = await world()
    const { folder } = place
    const before = packedRows(folder)
    const bytes = await readFile(catalogOf(folder))
    for (const steps of [0, 1, 2, 4, 6]) {
      const abort = new AbortController()
      let seen = 0
      const onProgress = (): void => {
        if (seen++ >= steps) abort.abort(new VarveError('CANCELLED', 'stopped'))
      }
      if (steps === 0) abort.abort(new VarveError('CANCELLED', 'stopped'))
      await expect(run(folder, { onProgress, signal: abort.signal })).rejects.toMatchObject({ code: 'CANCELLED' })
      expect(await readFile(catalogOf(folder))).toEqual(bytes)
      expect((await readdir(folder)).filter((name) => name.startsWith('catalog.db.'))).toEqual([])
    }
    await run(folder)
    expect(packedRows(folder)).toEqual(before)
  })

  test('a command meanwhile is refused, with an old catalog and without one, and none of its writes is lost', async () => {
    await using place = await world()
    const { folder, stand } = place
    const revoke = async (): Promise<void> => {
      await checkDataFolder(folder, { make: true })
      using catalog: Catalog = openLocal(catalogOf(folder))
      const agents = await catalog.agents.list({ tenant: stand.tenant.id, after: null, limit: 99 })
      for (const { id } of agents) await revokeAgent(catalog, stand.tenant, id)
    }
    for (const code of ['STORE_LOCKED', 'CATALOG_MISSING']) {
      const tried: unknown[] = []
      let asked = Promise.resolve()
      const onProgress = (): void => {
        asked = asked.then(() =>
          revoke().then(
            () => void tried.push('done'),
            (error: unknown) => void tried.push(error),
          ),
        )
      }
      await run(folder, { onProgress })
      await asked
      expect(tried[0]).toMatchObject({ code })
      await dropCatalog(folder)
    }
    await run(folder)
    await revoke()
    expect(packedRows(folder).agent).toMatchObject([{ revoked_ms: 2 }, { revoked_ms: 2 }])
  })

  test('between moving the old catalog away and placing the new one: a start refuses, a second rebuild loses nothing', async () => {
    await using place = await world()
    const { folder } = place
    const before = packedRows(folder)
    const besides = rowsBeside(folder)
    // with a log that was not yet taken into the catalog, as after a crash
    {
      using _keep = openLocal(catalogOf(folder))
      using catalog = openLocal(catalogOf(folder))
      await catalog.tokens.add({ ...TOKEN, id: 't', tenant: place.stand.tenant.id })
      await cp(catalogOf(folder), path.join(folder, 'copy'))
      await cp(`${catalogOf(folder)}-wal`, path.join(folder, 'copy-wal'))
    }
    await dropCatalog(folder)
    await rename(path.join(folder, 'copy'), path.join(folder, 'catalog.db.replaced-1'))
    await rename(path.join(folder, 'copy-wal'), `${catalogOf(folder)}-wal`)
    await writeFile(`${catalogOf(folder)}.new`, 'whole, or so it seems')
    await expect(openDatastore(folder)).rejects.toMatchObject({ code: 'CATALOG_MISSING' })
    const report = await run(folder)
    expect(report).toMatchObject({ takenFrom: 'catalog.db.replaced-1', replaced: null })
    expect(packedRows(folder)).toEqual(before)
    const { token, job } = rowsBeside(folder)
    expect(token).toHaveLength(1)
    expect(job).toEqual(besides.job)
    expect(existsSync(path.join(folder, 'catalog.db.replaced-1-wal'))).toBe(true)
    await expectPoints(place)
  })

  test('the log of a catalog that somebody deleted is not taken for that of an older one', async () => {
    await using place = await world()
    const { folder } = place
    await run(folder)
    await dropCatalog(folder)
    await writeFile(`${catalogOf(folder)}-wal`, 'stray')
    const report = await run(folder)
    expect(report.takenFrom).toBe('catalog.db.replaced-1')
    expect(existsSync(path.join(folder, 'catalog.db-wal.replaced-2'))).toBe(true)
    await expectPoints(place)
  })

  test('a job that was running goes on', async () => {
    await using stand = await Stand.open()
    const machine = await stand.machine('one')
    const id = await startJob(stand.datastore.catalog, stand.tenant, machine)
    await stand.datastore.tenantStore(stand.tenant).writeState()
    await stand.datastore[Symbol.asyncDispose]()
    await run(stand.folder)
    await stand.reopen()
    const found = await stand.datastore.catalog.jobs.get({ tenant: stand.tenant.id, job: id })
    expect(found!.job).toMatchObject({ id, state: 'running', machine: 'one' })
  })
})
