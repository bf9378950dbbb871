// The datastore that version 2 wrote, which every later version must open: all images as they were, also when it is rebuilt
// from its packs alone.
import { createHash } from 'node:crypto'
import { cp, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { chunkCount, hex } from '../../../protocol/chunk.ts'
import { PLAN_RULES_DEFAULT } from '../../../protocol/plans.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import type { Datastore } from '../../../gateway/datastore/datastore.ts'
import { leaves } from '../../../gateway/trees/leaves.ts'
import { rebuild } from '../../../gateway/maintenance/rebuild.ts'
import { memoryLog, openDatastore, temporaryFolder } from './fixture.ts'
import type { Expected } from './make-fixture-v2.ts'

const FIXTURE = path.join(import.meta.dirname, 'fixtures', 'v2')

const expected = JSON.parse(await readFile(path.join(FIXTURE, 'expected.json'), 'utf8')) as Expected

const jobsIn = async (folder: string): Promise<string[]> => {
  using catalog = openLocal(path.join(folder, 'catalog.db'))
  const { id: tenant } = await catalog.tenants.named({ name: expected.tenant })
  const { jobs } = await catalog.jobs.list({ tenant, agent: null, machine: null, after: null, limit: 100 })
  return jobs.map(({ job }) => job.id)
}

const expectImages = async (datastore: Datastore): Promise<void> => {
  const { catalog } = datastore
  const tenant = (await catalog.tenants.byName({ name: expected.tenant }))!
  const store = datastore.tenantStore(tenant)
  const page = { tenant: tenant.id, agent: null, machine: null, before: null, limit: 100 }
  const { points } = await catalog.points.list(page)
  expect(points.map(({ id }) => id).sort()).toEqual(expected.images.map(({ point }) => point).sort())
  for (const image of expected.images) {
    const point = points.find(({ id }) => id === image.point)!
    expect(point).toMatchObject({
      machine: image.machine,
      held: image.held,
      lockedUntilMs: image.lockedUntilMs,
    })
    const [disk] = point.disks
    expect(disk).toMatchObject({ name: image.disk, size: image.size })
    expect(disk!.root && hex(disk!.root)).toBe(image.root)
    const content = Buffer.alloc(image.size)
    for await (const { position, ids } of leaves(
      store.nodes.cached,
      disk!.root,
      chunkCount(image.size, expected.chunkBytes),
    ))
      for (const [index, id] of (ids ?? []).entries())
        content.set((await store.readRecord(id)).plain, (position + index) * expected.chunkBytes)
    expect(createHash('sha256').update(content).digest('hex')).toBe(image.sha256)
  }
}

/** The plan of a group. */
const expectPlans = async ({ catalog }: Datastore): Promise<void> => {
  const { id: tenant } = (await catalog.tenants.byName({ name: expected.tenant }))!
  const keep = { ...PLAN_RULES_DEFAULT.keep, last: 3 }
  const covers = { ...PLAN_RULES_DEFAULT.covers, groups: ['databases'] }
  const plan = { ...PLAN_RULES_DEFAULT, name: 'group-databases', keep, covers }
  expect(await catalog.plans.list({ tenant })).toEqual([plan])
  expect(await catalog.plans.of({ tenant, machine: 'db1' })).toEqual(plan)
  expect(await catalog.plans.of({ tenant, machine: 'web1' })).toBe(null)
}

test('opens, and every image is what it was', async () => {
  await using folder = await temporaryFolder()
  await cp(FIXTURE, folder.path, { recursive: true })
  await using datastore = await openDatastore(folder.path)
  expect(datastore.report).toMatchObject({ damaged: [], unknown: [] })
  await expectImages(datastore)
  await expectPlans(datastore)
  expect(await datastore.catalog.condition.examine({ trusted: false })).toEqual([])
  expect(await datastore.catalog.audit.check({ after: null })).toMatchObject({ brokenSeq: null, done: true })
})

test('is found again in its packs and its old catalog', async () => {
  await using folder = await temporaryFolder()
  await cp(FIXTURE, folder.path, { recursive: true })
  // a copy, as opening it makes files beside it
  await using copy = await temporaryFolder()
  await cp(path.join(folder.path, 'catalog.db'), path.join(copy.path, 'catalog.db'))
  const jobs = await jobsIn(copy.path)
  expect(jobs.length).toBeGreaterThan(0)
  const report = await rebuild({ folder: folder.path, log: memoryLog() })
  expect(report).toMatchObject({ points: expected.images.length, missingRecords: 0, takenFrom: 'catalog.db' })
  expect(report.remarks.rows).toEqual([])
  expect(await jobsIn(folder.path)).toEqual(jobs)
  await using datastore = await openDatastore(folder.path)
  await expectImages(datastore)
  await expectPlans(datastore)
})

test('is found again in its packs alone', async () => {
  await using folder = await temporaryFolder()
  await cp(FIXTURE, folder.path, { recursive: true })
  await rm(path.join(folder.path, 'catalog.db'))
  const report = await rebuild({ folder: folder.path, log: memoryLog() })
  expect(report).toMatchObject({
    tenants: 1,
    machines: 3,
    agents: 3,
    points: expected.images.length,
    prunedPoints: expected.pruned.length,
    missingRecords: 0,
  })
  expect(report.unreadable.rows).toEqual([])
  await using datastore = await openDatastore(folder.path)
  await expectImages(datastore)
  const { id: tenant } = (await datastore.catalog.tenants.byName({ name: expected.tenant }))!
  const machine = await datastore.catalog.machines.get({ tenant, name: 'db1' })
  expect(machine).toMatchObject({ host: 'host', policy: { consistency: 'freeze' } })
  await expectPlans(datastore)
})
