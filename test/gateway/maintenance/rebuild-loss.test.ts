// Rebuilds against the catalog that they would replace: never less than that has, unless somebody says so; links are
// followed; strays take no time.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { expect, test } from 'vitest'
import { isIncomplete } from '../../../gateway/commands/report-rebuild.ts'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { PACK_BYTES_MAX, RECORD } from '../../../gateway/packs/format.ts'
import { rebuild } from '../../../gateway/maintenance/rebuild.ts'
import type { RebuildReport } from '../../../gateway/maintenance/rebuild-report.ts'
import type { Ref } from '../../../protocol/image-tree.ts'
import { inventRecords } from '../../support/catalog-damage.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { addTenant, memoryLog, openDatastore, temporaryFolder, touch } from '../datastore/fixture.ts'
import { randomDisk, readImage, removePoints } from './stand.ts'

const run = (folder: string, options: Partial<Parameters<typeof rebuild>[0]> = {}): Promise<RebuildReport> =>
  rebuild({ folder, log: memoryLog(), refuseLoss: true, ...options })

interface World extends AsyncDisposable {
  readonly stand: Stand
  readonly folder: string
  readonly packs: string
  readonly point: string
  readonly root: Ref
  readonly plains: Plains
}

/** A stopped datastore with one restore point. */
const world = async (): Promise<World> => {
  const stand = await Stand.open()
  const plains = randomDisk(9)
  const { id: point, root } = await stand.point(await stand.machine('one'), plains)
  await stand.datastore.tenantStore(stand.tenant).writeState()
  await stand.datastore[Symbol.asyncDispose]()
  const packs = path.join(stand.folder, 'packs')
  const end = (): Promise<void> => stand[Symbol.asyncDispose]()
  return { stand, folder: stand.folder, packs, point, root, plains, [Symbol.asyncDispose]: end }
}

const packFiles = async (packs: string): Promise<string[]> =>
  (await readdir(packs, { recursive: true }))
    .filter((name) => name.endsWith('.pack'))
    .map((name) => path.join(packs, name))

const expectAll = async ({ stand, root, plains }: World): Promise<void> => {
  await stand.reopen()
  const read = await readImage(stand, root, plains.length)
  expect(read.map((one) => one && Buffer.from(one))).toEqual(plains.map((one) => one && Buffer.from(one)))
  await stand.datastore[Symbol.asyncDispose]()
}

const dropCatalog = async (folder: string): Promise<void> => {
  for (const end of ['', '-wal', '-shm']) await rm(path.join(folder, `${CATALOG_NAME}${end}`), { force: true })
}

test('packs, their folders and a tenant’s folder may be links', async () => {
  await using place = await world()
  await using elsewhere = await temporaryFolder()
  const { folder, packs, stand } = place
  const [first] = await packFiles(packs)
  const move = async (from: string, name: string): Promise<void> => {
    await rename(from, path.join(elsewhere.path, name))
    await symlink(path.join(elsewhere.path, name), from)
  }
  for (const from of [first!, path.dirname(first!), path.join(packs, stand.tenant.id), packs])
    await move(from, path.basename(from))
  for (const drop of [false, true]) {
    if (drop) await dropCatalog(folder)
    const report = await run(folder)
    expect(report).toMatchObject({ tenants: 1, points: 1, missingRecords: 0 })
    expect([isIncomplete(report), report.unknownFiles.rows]).toEqual([false, []])
    await expectAll(place)
  }
})

test('a pack that is gone is a loss to be accepted; until then the catalog stays as it is', async () => {
  await using place = await world()
  const { folder, packs } = place
  const before = await readFile(path.join(folder, CATALOG_NAME))
  const sizes = new Map<string, number>()
  for (const file of await packFiles(packs)) sizes.set(file, (await stat(file)).size)
  const [largest] = [...sizes].sort(([, a], [, b]) => b - a)[0]!
  await rename(largest, path.join(folder, 'aside'))
  await expect(run(folder)).rejects.toMatchObject({
    code: 'REBUILD_LOSES',
    message: expect.stringContaining('0 tenants, 1 whole restore points') as string,
  })
  expect(await readFile(path.join(folder, CATALOG_NAME))).toEqual(before)
  await rename(path.join(folder, 'aside'), largest)
  await expectAll(place)
  await rm(largest)
  const report = await run(folder, { refuseLoss: false })
  expect([isIncomplete(report), report.replaced]).toEqual([true, 'catalog.db.replaced-1'])
})

test('rows of the index that name what whole packs never had are no loss: they are what a rebuild is for', async () => {
  await using place = await world()
  const { folder } = place
  expect(inventRecords(folder, RECORD.chunk)).toBeGreaterThan(0)
  expect(isIncomplete(await run(folder))).toBe(false)
  await expectAll(place)
})

test('records of a pack that is gone are a loss though no restore point needs them', async () => {
  await using place = await world()
  const { folder, packs } = place
  const files = await packFiles(packs)
  removePoints(place.stand, place.point)
  const sizes = await Promise.all(files.map(async (file) => ({ file, size: (await stat(file)).size })))
  await rm(sizes.sort((a, b) => b.size - a.size)[0]!.file)
  await expect(run(folder)).rejects.toMatchObject({
    code: 'REBUILD_LOSES',
    message: expect.stringMatching(/0 whole restore points and [1-9]\d* records/u) as string,
  })
})

test('a rebuild that finds nothing at all of what was acknowledged says so', async () => {
  await using place = await world()
  const { folder, packs, stand } = place
  await dropCatalog(folder)
  await rename(path.join(packs, stand.tenant.id), path.join(folder, 'aside'))
  await expect(run(folder)).rejects.toMatchObject({ code: 'REBUILD_LOSES' })
  await rename(path.join(folder, 'aside'), path.join(packs, stand.tenant.id))
  expect(isIncomplete(await run(folder))).toBe(false)
  await expectAll(place)
})

test('a tenant of which no state is found is something missing', async () => {
  await using place = await world()
  const { stand, folder, packs } = place
  await stand.reopen()
  const other = await addTenant(stand.datastore, 'other')
  await stand.datastore.tenantStore(other).writeState()
  await stand.datastore[Symbol.asyncDispose]()
  const [state] = await packFiles(path.join(packs, other.id))
  {
    await using handle = await open(state!, 'r+')
    await handle.write(Buffer.alloc(50), 0, 50, 60)
  }
  await dropCatalog(folder)
  const report = await run(folder)
  expect(report.withoutState.rows).toMatchObject([{ tenant: other.id }])
  expect(isIncomplete(report)).toBe(true)
})

test('two packs of one tenant that changed places are named and read all the same', async () => {
  await using place = await world()
  const [one, two] = (await packFiles(place.packs)) as [string, string]
  await rename(one, `${one}.moved`)
  await rename(two, one)
  await rename(`${one}.moved`, two)
  const report = await run(place.folder)
  expect(report.remarks.rows).toEqual([1, 2].map(() => expect.stringContaining('its file holds another pack')))
  expect(report).toMatchObject({ points: 1, missingRecords: 0 })
  await expectAll(place)
})

test('what is named like a pack and is none is not waited for: sparse files, pipes, sockets, folders, what may not be read', async () => {
  await using place = await world()
  const { folder, packs, stand } = place
  const strays = path.join(packs, stand.tenant.id, '00')
  await mkdir(strays, { recursive: true })
  const stray = (): string => path.join(strays, `00${randomUUID().slice(2)}.pack`)
  {
    await using handle = await open(stray(), 'w')
    await handle.truncate(20 * 1024 ** 3)
  }
  await mkdir(stray())
  execFileSync('mkfifo', [stray()])
  await symlink('/nowhere', stray())
  await symlink('/dev/zero', stray())
  const server = createServer()
  // a path of that length is too long for a socket
  await new Promise<void>((resolve) => void server.listen(path.join(folder, 's'), resolve))
  await rename(path.join(folder, 's'), stray())
  await touch(openDatastore(folder))
  const report = await run(folder)
  expect(report.unknownFiles.rows).toHaveLength(5)
  const read = report.unreadable.rows.filter(({ offset }) => offset === 0)
  expect(read).toMatchObject([{ length: PACK_BYTES_MAX }])
  expect(report).toMatchObject({ points: 1, missingRecords: 0 })
  await dropCatalog(folder)
  await run(folder)
  await expectAll(place)
  server.close()
})

test('a pipe in the place of a pack that is known is damage, not a wait', async () => {
  await using place = await world()
  const { stand, packs, root, plains } = place
  for (const file of await packFiles(packs)) {
    await rm(file)
    execFileSync('mkfifo', [file])
  }
  await stand.reopen()
  expect(stand.datastore.report.damaged.length).toBeGreaterThan(0)
  await expect(readImage(stand, root, plains.length)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
})
