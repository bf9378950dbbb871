// Uploads against a quota and a disk that fills up: neither is passed, what is stored stays readable, and what makes room works.
import { randomUUID } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { Datastore } from '../../../gateway/datastore/datastore.ts'
import type { Quota } from '../../../gateway/catalog/tenants.ts'
import { Filler } from '../../support/full-disk.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually } from '../../support/temp.ts'
import { tinyFileSystem } from '../../agent/restore/devices.ts'
import { sizeOf, Stand, type Plains } from '../chains/script.ts'
import { collected, randomDisk, readImage, removePoints } from '../maintenance/stand.ts'
import { addTenant, memoryLog, temporaryFolder } from './fixture.ts'

const MIB = 2 ** 20
const setQuota = async ({ datastore, tenant }: Stand, quota: Partial<Quota>): Promise<void> => {
  const whole = { softBytes: null, hardBytes: null, ...quota }
  await datastore.catalog.quotas.set({ tenant: tenant.id, ...whole })
  await datastore.space.refresh()
}

/** Length of everything that lies among a tenant's packs. */
const fileBytes = async ({ folder, tenant }: Stand): Promise<number> => {
  const root = path.join(folder, 'packs', tenant.id)
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  const sizes = entries.filter((entry) => entry.isFile()).map((entry) => stat(path.join(entry.parentPath, entry.name)))
  return (await Promise.all(sizes)).reduce((sum, { size }) => sum + size, 0)
}

const usedBytes = ({ datastore, tenant }: Stand): number => datastore.space.quotas.usedBytes(tenant.id)

/** Watches what is counted from now on; gives the most that it was. */
const mostUsed = (stand: Stand): (() => number) => {
  const { quotas } = stand.datastore.space
  const add = quotas.add.bind(quotas)
  let most = 0
  quotas.add = (tenant, bytes) => {
    add(tenant, bytes)
    most = Math.max(most, quotas.usedBytes(tenant))
  }
  return () => most
}

/** Uploads a disk of a machine of its own, and gives the job up where that fails; its error code, or null. */
const tryUpload = async (stand: Stand, plains: Plains): Promise<string | null> => {
  const machine = await stand.machine(`m-${randomUUID()}`)
  const job = await stand.job(machine, sizeOf(plains))
  try {
    await stand.uploadAll(job, plains)
    return null
  } catch (error) {
    return (error as { code: string }).code
  } finally {
    await stand.fail(machine)
  }
}

test('uploads at the same time end at the hard quota and not a byte behind it; what was stored stays', async () => {
  await using stand = await Stand.open()
  const plains = randomDisk(200)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  expect(usedBytes(stand)).toBe(await fileBytes(stand))

  const hardBytes = 4 * MIB
  await setQuota(stand, { hardBytes })
  const most = mostUsed(stand)
  const codes = await Promise.all(Array.from({ length: 6 }, () => tryUpload(stand, randomDisk(300))))
  expect(codes.filter((code) => code === 'QUOTA_EXCEEDED').length).toBeGreaterThan(2)
  expect(codes.filter((code) => code !== null && code !== 'QUOTA_EXCEEDED')).toEqual([])
  expect(most()).toBeLessThanOrEqual(hardBytes)
  expect(most()).toBeGreaterThan(hardBytes - MIB)
  expect(usedBytes(stand)).toBe(await fileBytes(stand))
  expect(await readImage(stand, root, plains.length)).toEqual(plains)

  // a start counts the same
  await stand.reopen()
  expect(usedBytes(stand)).toBe(await fileBytes(stand))
  expect(await tryUpload(stand, randomDisk(1100))).toBe('QUOTA_EXCEEDED')

  // what the uploads that ended left is garbage, and collecting it makes room, beyond the quota if it must
  await setQuota(stand, { hardBytes: 1 })
  await collected(stand)
  expect(usedBytes(stand)).toBe(await fileBytes(stand))
  expect(usedBytes(stand)).toBeLessThan(MIB)
  await expect(stand.datastore.space.admit(stand.tenant)).rejects.toMatchObject({ code: 'QUOTA_EXCEEDED' })
  await setQuota(stand, { hardBytes })
  await stand.datastore.space.admit(stand.tenant)
  expect(await tryUpload(stand, randomDisk(300))).toBeNull()
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
})

test('a quota that was set beside the gateway holds within seconds, also for uploads under way', async () => {
  await using stand = await Stand.open()
  const { space, catalog } = stand.datastore
  const clock = new HandClock(1000)
  const stop = space.watch(clock)
  const take = async (): Promise<string | null> => {
    try {
      using _room = await space.take(stand.tenant, 20_000)
      return null
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  await catalog.quotas.set({ tenant: stand.tenant.id, softBytes: null, hardBytes: 10_000 })
  expect(await take()).toBeNull()
  clock.advance(2000)
  await eventually(async () => (await take()) === 'QUOTA_EXCEEDED')
  await catalog.quotas.set({ tenant: stand.tenant.id, softBytes: 1, hardBytes: null })
  await eventually(() => clock.waiting === 1)
  clock.advance(2000)
  await eventually(async () => (await take()) === null)
  stop()
  expect(clock.waiting).toBe(0)
})

test('manifests are kept over the quota and below the reserve', async () => {
  await using folder = await temporaryFolder()
  const reserveBytes = 2 ** 60
  await using datastore = await Datastore.open({ folder: folder.path, log: memoryLog(), threads: 1, reserveBytes })
  const tenant = await addTenant(datastore, 'acme')
  const stand = new Stand(folder, datastore, tenant)
  await expect(datastore.space.admit(tenant)).rejects.toMatchObject({ code: 'STORE_FULL' })
  expect(await tryUpload(stand, randomDisk(3))).toBe('STORE_FULL')
  await setQuota(stand, { hardBytes: 0 })
  await expect(datastore.space.admit(tenant)).rejects.toMatchObject({ code: 'QUOTA_EXCEEDED' })
  // an image of zeroes has nothing to append but its manifest
  const { id } = await stand.point(await stand.machine('db1'), [null, null])
  expect(await datastore.catalog.points.find({ tenant: tenant.id, agent: null, prefix: id })).toMatchObject({
    id,
  })
})

test('a disk that fills up takes no uploads below its reserve; restores, prune and collection go on and make room', async (context) => {
  await using folder = await temporaryFolder()
  const disk = await tinyFileSystem(path.join(folder.path, 'disk'), 32 * MIB)
  if (disk === null) {
    context.skip('this process may not mount a file system')
    return
  }
  await using mounted = disk
  const open = (): Promise<Datastore> =>
    Datastore.open({ folder: mounted.path, log: memoryLog(), threads: 2, reserveBytes: 10 * MIB })
  await using datastore = await open()
  const place = { path: mounted.path, [Symbol.asyncDispose]: async () => {} }
  const stand = new Stand(place, datastore, await addTenant(datastore, 'acme'))
  const [stays, goes] = [randomDisk(300), randomDisk(1600)]
  const first = await stand.point(await stand.machine('db1'), stays)
  const second = await stand.point(await stand.machine('db2'), goes)

  // far more than there is room for
  expect(await tryUpload(stand, randomDisk(8000))).toBe('STORE_FULL')
  // what that upload had not committed it gave back; somebody else takes it, and a part of the reserve
  using filler = new Filler(mounted.path)
  filler.fill(9 * MIB)
  const refusal = datastore.space.admit(stand.tenant)
  await expect(refusal).rejects.toThrow(/MiB free .* reserve of 10\.0 MiB/u)
  await expect(refusal).rejects.toMatchObject({ code: 'STORE_FULL' })
  expect(await tryUpload(stand, randomDisk(1))).toBe('STORE_FULL')
  expect(await readImage(stand, first.root, stays.length)).toEqual(stays)
  expect(await readImage(stand, second.root, goes.length)).toEqual(goes)

  removePoints(stand, second.id)
  const report = await collected(stand)
  expect(report.bytesAfter).toBeLessThan(report.bytesBefore - 6 * MIB)
  expect(usedBytes(stand)).toBe(await fileBytes(stand))
  await datastore.space.admit(stand.tenant)
  const more = randomDisk(300)
  const third = await stand.point(await stand.machine('db3'), more)
  expect(await readImage(stand, first.root, stays.length)).toEqual(stays)
  expect(await readImage(stand, third.root, more.length)).toEqual(more)
})
