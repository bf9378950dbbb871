// Usage on a real datastore: figures held against plain sets of chunks, against the packs, and while backups, prune and
// damage go on.
import type { MachineRow } from '../../../gateway/catalog/machines.ts'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import type { UsageReport, UsageRow } from '../../../protocol/maintenance.ts'
import type { Params } from '../../../protocol/methods.ts'
import { PACK_HEADER_BYTES, recordBytes } from '../../../gateway/packs/format.ts'
import { partsOf, usageOf } from '../../../gateway/maintenance/usage.ts'
import { forgetJob } from '../../support/catalog-damage.ts'
import { beginJob, fullDisk, startJob } from '../catalog.ts'
import { runsOf, sizeOf, Stand, type Plains } from '../chains/script.ts'
import { batchOf, CHUNK_BYTES, progressAt, treeOf } from '../datastore/fixture.ts'
import { changed, collected, contextOf, packBytes, randomDisk, removePoints } from './stand.ts'

const RECORD_BYTES = recordBytes(CHUNK_BYTES)

/** The report, of which everything adds up to what the packs have. */
const usage = async (stand: Stand, params: Partial<Params<'store.usage'>> = {}): Promise<UsageReport> => {
  const report = await usageOf(contextOf(stand), { machine: null, points: true, ...params })
  const { packBytes, parts, rows } = report
  const { missingBytes, ...there } = parts
  expect(Object.values(there).reduce((sum, bytes) => sum + bytes, 0)).toBe(packBytes + missingBytes)
  expect(Object.values(parts).filter((bytes) => bytes < 0)).toEqual([])
  expect(parts.machineBytes + parts.sharedBytes).toBe(rows[0]!.storedBytes)
  expect(parts.deadBytes).toBe(report.deadBytes)
  return report
}

const rowOf = ({ rows }: UsageReport, scope: UsageRow['scope'], name: string): UsageRow =>
  rows.find((row) => row.scope === scope && [row.machine, row.disk, row.point].includes(name))!

/** A committed restore point of several disks, written without an agent. */
const pointOf = async (stand: Stand, machine: MachineRow, disks: Record<string, Plains>): Promise<string> => {
  const { datastore, tenant } = stand
  const id = await startJob(datastore.catalog, tenant, machine, { full: true })
  const begun = Object.entries(disks).map(([name, plains]) => {
    return { ...fullDisk(name, sizeOf(plains)), reason: 'requested' } as const
  })
  await beginJob(datastore.catalog, { id, agent: machine.agent }, begun)
  const store = datastore.tenantStore(tenant)
  for (const [disk, plains] of Object.entries(disks)) {
    await using writer = await store.openWriter({ job: id, disk, machine: machine.name })
    const present = plains.filter((plain) => plain !== null)
    if (present.length > 0) await writer.append(batchOf(tenant, present))
    const { root, nodes } = treeOf(tenant, stand.refs(plains))
    writer.addNodes(nodes)
    await writer.commit(progressAt(plains.length, { finished: true, root }))
  }
  await stand.commit({ id, machine })
  return id
}

interface ModelDisk {
  readonly machine: string
  readonly point: string
  readonly disk: string
  readonly plains: Plains
}

/** Plain bytes that only images of this part hold, and those that they hold with repetition. */
const modelBytes = (stand: Stand, disks: readonly ModelDisk[], isIn: (disk: ModelDisk) => boolean) => {
  const names = (list: readonly ModelDisk[]): Map<string, number> =>
    new Map(
      list.flatMap(({ plains }) =>
        plains.flatMap((plain) => (plain === null ? [] : [[hex(stand.idOf(plain)), plain.length] as const])),
      ),
    )
  const own = disks.filter(isIn)
  const elsewhere = names(disks.filter((disk) => !isIn(disk)))
  let uniqueBytes = 0
  for (const [id, length] of names(own)) if (!elsewhere.has(id)) uniqueBytes += length
  const usedBytes = own.reduce(
    (sum, { plains }) => sum + plains.reduce((bytes, plain) => bytes + (plain?.length ?? 0), 0),
    0,
  )
  return { usedBytes, uniqueBytes, logicalBytes: own.reduce((sum, { plains }) => sum + sizeOf(plains), 0) }
}

test('every figure is that of a model, for several machines, disks and points that share content', async () => {
  await using stand = await Stand.open()
  const [common, own] = [randomDisk(70), randomDisk(40)]
  const [db1, db2] = [await stand.machine('db1'), await stand.machine('db2')]
  const tail = new Uint8Array(1024).fill(7)
  const contents: readonly [MachineRow, Record<string, Plains>][] = [
    [db1, { vda: [...common, null, ...own, tail], vdb: [...own, ...own] }],
    [db1, { vda: changed([...common, null, ...own, tail], 3, 90), vdb: [...own, null, ...randomDisk(5)] }],
    [db2, { vda: [...common, ...randomDisk(30)], vdb: [null, null] }],
    [db2, { vda: changed([...common, ...randomDisk(30)], 0), vdb: [null, ...common] }],
  ]
  const disks: ModelDisk[] = []
  for (const [machine, content] of contents) {
    const point = await pointOf(stand, machine, content)
    for (const [disk, plains] of Object.entries(content)) disks.push({ machine: machine.name, point, disk, plains })
  }
  const report = await usage(stand)
  expect(report.rows.map(({ scope }) => scope)).toEqual([
    'tenant',
    ...Array.from({ length: 2 }, () => ['machine', 'disk', 'disk', 'point', 'point']).flat(),
  ])
  for (const row of report.rows) {
    const isIn = ({ machine, point, disk }: ModelDisk): boolean =>
      row.scope === 'tenant' ||
      (machine === row.machine && (row.disk ?? disk) === disk && (row.point ?? point) === point)
    const model = modelBytes(stand, disks, isIn)
    expect(row).toMatchObject({ ...model, sharedBytes: model.usedBytes - model.uniqueBytes })
    expect(row.points).toBe(new Set(disks.filter(isIn).map(({ point }) => point)).size)
  }
  const [tenant] = report.rows
  expect(report.dedupRatio).toBeCloseTo(tenant!.usedBytes / tenant!.uniqueBytes)
  expect(report.compressionRatio).toBeCloseTo(tenant!.uniqueBytes / tenant!.storedBytes)
  const machines = report.rows.filter(({ scope }) => scope === 'machine')
  const machineBytes = machines.reduce((sum, { storedBytes }) => sum + storedBytes, 0)
  expect(tenant!.storedBytes).toBeGreaterThan(machineBytes)
  expect(report.parts).toMatchObject({ machineBytes, uploadBytes: 0, missingBytes: 0 })

  // one machine alone has the figures that it has among the others
  const { rows, parts } = await usage(stand, { machine: 'db2', points: false })
  expect(parts).toEqual(report.parts)
  expect(rows).toEqual([report.rows[0], ...report.rows.filter((row) => row.machine === 'db2' && row.scope !== 'point')])
})

test('stored bytes are those of the packs, and what a removed part frees is what its row said', async () => {
  await using stand = await Stand.open()
  const [db1, db2] = [await stand.machine('db1'), await stand.machine('db2')]
  const common = randomDisk(100)
  await pointOf(stand, db1, { vda: [...common, ...randomDisk(50)] })
  const second = await pointOf(stand, db1, { vda: [...common, ...randomDisk(60)], vdb: randomDisk(20) })
  await pointOf(stand, db2, { vda: [...common, ...randomDisk(10)] })
  const before = await usage(stand)
  expect(before).toMatchObject({ deadBytes: 0, packBytes: await packBytes(stand) })
  // one pack of data and one of nodes
  expect(before.parts).toMatchObject({ otherBytes: 2 * PACK_HEADER_BYTES, missingBytes: 0 })

  const freed = rowOf(before, 'point', second).storedBytes
  expect(freed).toBeGreaterThan(80 * RECORD_BYTES)
  removePoints(stand, second)
  const pruned = await usage(stand)
  expect(pruned.deadBytes).toBe(freed)
  expect(pruned.packBytes).toBe(before.packBytes)
  await collected(stand, { thresholdPercent: 100 })
  const after = await usage(stand)
  expect(after.deadBytes).toBe(0)
  expect(after.packBytes).toBe(before.packBytes - freed)
  expect(after.rows[0]!.storedBytes).toBe(before.rows[0]!.storedBytes - freed)
})

test('what a running backup has stored is neither dead nor of anybody yet, and its base keeps its owner', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const first = randomDisk(130)
  await stand.point(machine, first)
  const before = await usage(stand)
  const job = await stand.job(machine, sizeOf(first), 'incremental')
  const script = stand.upload(job)
  const { proofKey } = await script.started()
  const fresh = randomDisk(65)
  const plains = [...fresh, ...first.slice(65)]
  await script.deliver(runsOf(stand.refs(fresh)), stand.byId(plains), proofKey)
  await script.committed(65)
  const during = await usage(stand)
  expect(during.rows).toEqual(before.rows)
  expect(during.deadBytes).toBe(0)
  expect(during.packBytes).toBeGreaterThan(before.packBytes + 64 * RECORD_BYTES)
  expect(during.parts.uploadBytes).toBeGreaterThan(64 * RECORD_BYTES)
  script.abort.abort(new Error('given up'))
  await script.result.catch(() => {})
  await stand.fail(machine)
  expect((await usage(stand)).deadBytes).toBeGreaterThan(64 * RECORD_BYTES)
})

test('while backups go on and end, what they write never passes for dead', async () => {
  await using stand = await Stand.open()
  const machines = [await stand.machine('db1'), await stand.machine('db2')]
  const disk = randomDisk(40)
  await stand.point(machines[0]!, disk)
  let running = true
  const backups = machines.map(async (machine) => {
    for (let round = 0; round < 6; round++) await stand.point(machine, changed(disk, round, 20 + round))
  })
  const ended = Promise.all(backups).finally(() => (running = false))
  let counted = 0
  while (running) {
    expect((await usage(stand)).deadBytes).toBe(0)
    counted++
  }
  await ended
  expect(counted).toBeGreaterThan(0)
  const { rows, deadBytes } = await usage(stand)
  expect([rows[0]!.points, deadBytes]).toEqual([13, 0])
})

test('growth counts what backups stored, also of points that were pruned since and of ones whose job is not known', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const [one, two] = [await stand.point(machine, randomDisk(30)), await stand.point(machine, randomDisk(40))]
  const grown = async (nowMs: number): Promise<UsageReport['growth']> => {
    const clock = { now: () => nowMs, elapsed: () => 0, after: () => () => {} }
    return (await usageOf({ ...contextOf(stand), clock }, { machine: null, points: false })).growth
  }
  const { dayBytes } = await grown(1000)
  expect(dayBytes).toBeGreaterThan(70 * RECORD_BYTES)
  expect(await grown(1000)).toEqual({ dayBytes, weekBytes: dayBytes, monthBytes: dayBytes })
  const dayMs = 24 * 60 * 60 * 1000
  expect(await grown(3 * dayMs)).toEqual({ dayBytes: 0, weekBytes: dayBytes, monthBytes: dayBytes })
  expect(await grown(10 * dayMs)).toEqual({ dayBytes: 0, weekBytes: 0, monthBytes: dayBytes })
  removePoints(stand, one.id)
  expect(await grown(1000)).toMatchObject({ dayBytes })
  forgetJob(stand.folder, two.id)
  expect(await grown(1000)).toMatchObject({ dayBytes })
})

test('what rows name and packs do not have is told, and is no negative rest', () => {
  const known = { machineBytes: 50, sharedBytes: 20, deadBytes: 10, uploadBytes: 5 }
  expect(partsOf(90, known)).toEqual({ ...known, otherBytes: 5, missingBytes: 0 })
  expect(partsOf(60, known)).toEqual({ ...known, otherBytes: 0, missingBytes: 25 })
})

test('quotas are shown, tenants are apart, and an unknown machine is refused', async () => {
  await using stand = await Stand.open()
  expect(await usage(stand)).toMatchObject({
    rows: [{ scope: 'tenant', points: 0, storedBytes: 0 }],
    rowCount: 1,
    deadBytes: 0,
    quota: { softBytes: null, hardBytes: null },
    dedupRatio: 1,
    compressionRatio: 1,
    growth: { dayBytes: 0, weekBytes: 0, monthBytes: 0 },
  })
  const by = { subject: 'test', role: 'platform' } as const
  const quota = { tenant: stand.tenant.id, softBytes: 10, hardBytes: 2 ** 40, nowMs: 1, by }
  await stand.datastore.catalog.quotas.set(quota)
  await stand.point(await stand.machine('db1'), randomDisk(3))
  expect((await usage(stand)).quota).toEqual({ softBytes: 10, hardBytes: 2 ** 40 })
  await expect(usage(stand, { machine: 'db2' })).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('a tree that cannot be read is damage with a way out, and is known from then on', async () => {
  await using stand = await Stand.open()
  const plains = randomDisk(100)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  const [location] = await stand.datastore.catalog.records.locate({ tenant: stand.tenant.id, ids: root! })
  const { pack, offset } = location!
  const file = path.join(stand.folder, 'packs', stand.tenant.id, pack.slice(0, 2), `${pack}.pack`)
  {
    await using handle = await open(file, 'r+')
    await handle.write(Buffer.from([255, 255, 255]), 0, 3, offset + 60)
  }
  await expect(usage(stand)).rejects.toThrow(/verify/u)
  const [row] = (await usage(stand)).rows
  expect(row).toMatchObject({ points: 1, usedBytes: 0, uniqueBytes: 0, logicalBytes: sizeOf(plains) })
})
