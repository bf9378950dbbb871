// The database on its thread and in the caller's: the same answers and errors, order, and the end.
import type { Tenant } from '../../../../gateway/catalog/tenants.ts'
import { randomUUID } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openLocal, openThread, type ThreadCatalog } from '../../../../gateway/catalog/sqlite/database.ts'
import { codeOf } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'
import { tempFolder } from '../../../support/temp.ts'

const tenant = (name: string) => ({
  name,
  id: randomUUID(),
  idKey: new Uint8Array(32).fill(1),
  chunkBytes: 4096,
  nowMs: 1,
})

test('both say the same, and one sees what the other wrote', async () => {
  await using temp = await tempFolder()
  await using thread = await openThread(temp.join('db'))
  using local = openLocal(temp.join('db'))
  const added = await thread.tenants.add(tenant('a'))
  expect(added).toMatchObject({ name: 'a', idKey: new Uint8Array(32).fill(1) })
  expect(await local.tenants.byName({ name: 'a' })).toEqual(added)
  for (const catalog of [thread, local]) {
    const again = catalog.tenants.add(tenant('a'))
    await expect(again).rejects.toMatchObject({ code: 'EXISTS', message: 'there is a tenant "a" already' })
  }
  await local.tenants.add(tenant('b'))
  expect((await thread.tenants.list()).map(({ name }) => name)).toEqual(['a', 'b'])
})

test('details of an error cross the thread, and one that fails leaves nothing', async () => {
  await using temp = await tempFolder()
  await using thread = await openThread(temp.join('db'))
  const acme = await thread.tenants.add(tenant('a'))
  const { id } = acme
  const agent = await addAgent(thread, acme)
  const machine = (await addMachine(thread, acme, agent, 'm')).name
  const job = { id: randomUUID(), tenant: id, machine, agent, subject: 's', full: false, compare: false }
  // a column of whole numbers takes no half of one
  await expect(thread.jobs.start({ ...job, nowMs: 0.5 })).rejects.toMatchObject({ code: 'STORE_FAILED' })
  expect(await thread.jobs.list({ tenant: id, agent: null, machine: null, after: null, limit: 9 })).toMatchObject({
    jobs: [],
  })
})

test('calls are done in order, and those given before the end are answered', async () => {
  await using temp = await tempFolder()
  const thread = await openThread(temp.join('db'))
  const values = Array.from({ length: 200 }, (_, index) => thread.settings.init({ name: 'x', value: String(index) }))
  const ended = thread[Symbol.asyncDispose]()
  expect(new Set(await Promise.all(values))).toEqual(new Set(['0']))
  await ended
  expect(await codeOf(thread.settings.get({ name: 'x' }))).toBe('STORE_FAILED')
  await thread[Symbol.asyncDispose]()
})

test('what cannot be opened is refused with a code that names no path', async () => {
  await using temp = await tempFolder()
  const refused = openThread(temp.join('missing', 'db'))
  await expect(refused).rejects.toMatchObject({ code: 'STORE_FAILED' })
  await expect(refused).rejects.not.toThrow(temp.path)
})

const LISTING = { agent: null, machine: null, before: null, limit: 250 }

/** A tenant with restore points of so many disks each. */
const furnished = async (catalog: ThreadCatalog, points: number, disks: number): Promise<Tenant> => {
  const acme = await catalog.tenants.add(tenant('acme'))
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'db1')
  const names = Array.from({ length: disks }, (_, index) => `disk${index}`)
  for (let index = 0; index < points; index++) await addPoint(catalog, acme, machine, { timeMs: 100 + index, names })
  return acme
}

test('a call of a backup is answered before the listings that were there first', async () => {
  await using temp = await tempFolder()
  await using catalog = await openThread(temp.join('db'))
  const acme = await furnished(catalog, 60, 12)
  let listed = 0
  const listings = Array.from({ length: 256 }, async () => {
    const { points } = await catalog.points.list({ ...LISTING, tenant: acme.id })
    listed++
    return points.length
  })
  const ids = new Uint8Array(32 * 1024).fill(9)
  for (let round = 0; round < 5; round++)
    expect((await catalog.records.have({ tenant: acme.id, machine: 'm', ids })).length).toBe(1024)
  // on one thread all of them would have come before the first round
  expect(listed).toBeLessThan(listings.length)
  expect(new Set(await Promise.all(listings))).toEqual(new Set([60]))
})

test('a listing has everything that was answered before it was asked for, while backups write', async () => {
  await using temp = await tempFolder()
  await using catalog = await openThread(temp.join('db'))
  const acme = await catalog.tenants.add(tenant('acme'))
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'db1')
  for (let round = 1; round <= 25; round++) {
    const id = await addPoint(catalog, acme, machine, { timeMs: 100 + round })
    const { points } = await catalog.points.list({ ...LISTING, tenant: acme.id })
    expect([points.length, points[0]?.id]).toEqual([round, id])
    expect((await catalog.jobs.get({ tenant: acme.id, job: id }))?.job.state).toBe('committed')
  }
})

test('listings keep the log of the catalog from growing without end, and leave none behind', async () => {
  await using temp = await tempFolder()
  const catalog = await openThread(temp.join('db'))
  const acme = await furnished(catalog, 20, 4)
  let over = false
  const list = async (): Promise<void> => {
    while (!over) await catalog.points.list({ ...LISTING, tenant: acme.id })
  }
  const lists = [list(), list(), list(), list()]
  const value = 'x'.repeat(200_000)
  let longest = 0
  for (let round = 0; round < 300; round++) {
    await catalog.settings.set({ name: `big${round % 10}`, value: `${round}${value}` })
    longest = Math.max(longest, (await stat(temp.join('db-wal'))).size)
  }
  over = true
  await Promise.all(lists)
  // 60 MB were written
  expect(longest).toBeLessThan(30 * 1024 * 1024)
  await catalog[Symbol.asyncDispose]()
  expect(await readdir(temp.path)).toEqual(expect.not.arrayContaining(['db-wal']))
})

test('listings go on when their thread has ended for want of memory, and who waited for it is told', async () => {
  await using temp = await tempFolder()
  await using catalog = await openThread(temp.join('db'), { maxOldGenerationSizeMb: 16 })
  const acme = await furnished(catalog, 3, 1)
  // the ids alone take more
  const jobs = Array.from({ length: 1_500_000 }, (_, index) => `job ${index}`)
  const check = catalog.checks.jobs({ tenant: acme.id, jobs })
  const behind = catalog.points.list({ ...LISTING, tenant: acme.id })
  const ends = await Promise.all([check, behind].map((call) => codeOf(call)))
  expect(ends).toEqual(['STORE_FAILED', 'STORE_FAILED'])
  expect((await catalog.points.list({ ...LISTING, tenant: acme.id })).points).toHaveLength(3)
  expect(await catalog.tenants.byName({ name: 'acme' })).toMatchObject({ id: acme.id })
})
