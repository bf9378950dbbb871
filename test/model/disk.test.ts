// Single faults of a disk: reads that fail are no damage, a file system that is read-only takes nothing and loses nothing,
// and a start may be cut short again and again.
import path from 'node:path'
import { expect, test } from 'vitest'
import { armFailpoints } from '../../gateway/common/failpoint.ts'
import { verifyPoints } from '../../gateway/maintenance/verify.ts'
import { tinyFileSystem } from '../agent/restore/devices.ts'
import { codeOf } from '../gateway/auth/test-authority.ts'
import { Stand } from '../gateway/chains/script.ts'
import { addTenant, openDatastore, temporaryFolder } from '../gateway/datastore/fixture.ts'
import { collected, contextOf, randomDisk, readImage } from '../gateway/maintenance/stand.ts'
import { run } from '../support/run.ts'
import { runSeeds } from './seeds.ts'
import { Tally } from './tally.ts'

const ALL = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }

const failing = (code: string): Error => Object.assign(new Error(`${code}: made by a test`), { code })

/** How many records the index has, and whether damage is known. */
const known = async ({ datastore: { catalog }, tenant: { id: tenant } }: Stand) => ({
  records: await catalog.collection.count({ tenant }),
  damaged: await catalog.damage.any({ tenant }),
})

test('a read that fails is an error of the disk and not damage: nothing leaves the index', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(100)
  const { root } = await stand.point(machine, plains)
  await stand.reopen()
  const before = await known(stand)
  {
    using _armed = armFailpoints((name) => {
      if (name === 'pack.read') throw failing('EIO')
    })
    const store = stand.datastore.tenantStore(stand.tenant)
    expect(await codeOf(readImage(stand, root, plains.length))).toBe('STORE_FAILED')
    expect(await codeOf(store.prove([stand.idOf(plains[0]!)], new Uint8Array(32)))).toBe('STORE_FAILED')
    expect(await codeOf(verifyPoints(contextOf(stand), ALL))).toBe('STORE_FAILED')
  }
  expect(await known(stand)).toEqual(before)
  expect(before.damaged).toBe(false)
  expect(await verifyPoints(contextOf(stand), ALL)).toMatchObject({ points: 1, good: 1, damagedCount: 0 })
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
})

test('while nothing can be written, what is there is read; then uploads and collections go on without a restart', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(80)
  const { root } = await stand.point(machine, plains)
  {
    using _armed = armFailpoints((name) => {
      if (name.startsWith('pack.') && name !== 'pack.read') throw failing('EROFS')
    })
    expect(await codeOf(stand.point(machine, randomDisk(3)))).toBe('STORE_FAILED')
    expect(await readImage(stand, root, plains.length)).toEqual(plains)
    expect(await verifyPoints(contextOf(stand), ALL)).toMatchObject({ points: 1, good: 1, damagedCount: 0 })
  }
  await stand.fail(machine)
  const others = randomDisk(5)
  const other = await stand.point(machine, others)
  expect(await collected(stand)).toMatchObject({ missing: 0 })
  expect(await readImage(stand, other.root, others.length)).toEqual(others)
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
})

test('a store on a file system that came up read-only does not open, and has lost nothing', async (context) => {
  await using folder = await temporaryFolder()
  const disk = await tinyFileSystem(path.join(folder.path, 'disk'), 16 * 1024 * 1024)
  if (disk === null) {
    context.skip('this process may not mount a file system')
    return
  }
  await using mounted = disk
  const place = { path: mounted.path, [Symbol.asyncDispose]: async () => {} }
  const plains = randomDisk(50)
  let root: Uint8Array | null
  {
    const datastore = await openDatastore(mounted.path)
    await using stand = new Stand(place, datastore, await addTenant(datastore, 'acme'))
    root = (await stand.point(await stand.machine('db1'), plains)).root
  }
  await run('mount', ['-o', 'remount,ro', mounted.path])
  await expect(openDatastore(mounted.path)).rejects.toMatchObject({ code: 'STORE_FAILED' })
  await run('mount', ['-o', 'remount,rw', mounted.path])
  const datastore = await openDatastore(mounted.path)
  const tenant = (await datastore.catalog.tenants.byName({ name: 'acme' }))!
  await using stand = new Stand(place, datastore, tenant)
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
})

test('a start that is killed while it recovers is followed by one that recovers', async () => {
  const tally = new Tally()
  const options = () => ({ lives: 4, thorough: false, at: 'transaction.before', faultsFrom: 'start' }) as const
  expect(await runSeeds({ from: 1, count: 3, options }, tally)).toEqual([])
  expect(tally.deathsWhileOpening).toBeGreaterThan(0)
})
