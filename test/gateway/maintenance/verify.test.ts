// Verifying: what is whole, what is damaged and where, each shared record once, which points are chosen, and what runs beside it.
import { readFile, truncate } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { armFailpoints } from '../../../gateway/common/failpoint.ts'
import { decodeManifest } from '../../../gateway/catalog/manifest.ts'
import { verifyPoints } from '../../../gateway/maintenance/verify.ts'
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { MaintenanceProgress, VerifyReport } from '../../../protocol/maintenance.ts'
import type { Params } from '../../../protocol/methods.ts'
import { Damager } from '../../support/damage.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { CHUNK_BYTES } from '../datastore/fixture.ts'
import { changed, collected, contextOf, randomDisk, removePoints } from './stand.ts'

const verify = (stand: Stand, params: Partial<Params<'store.verify'>> = {}): Promise<VerifyReport> =>
  verifyPoints(contextOf(stand), { point: null, machine: null, olderThanDays: null, bytesPerSecond: null, ...params })

const diskOf = (plains: Plains): Buffer => Buffer.concat(plains.map((plain) => plain ?? Buffer.alloc(CHUNK_BYTES)))

const find = ({ datastore, tenant }: Stand, prefix: string) =>
  datastore.catalog.points.find({ tenant: tenant.id, agent: null, prefix })

test('points that are whole are read once, what they share too, and are marked', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(150)
  const ids: string[] = []
  for (let index = 0; index < 4; index++)
    ids.push((await stand.point(machine, changed(plains, ...(index === 0 ? [] : [index])), 30 + index)).id)
  const progress: MaintenanceProgress[] = []
  const all = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }
  const report = await verifyPoints(contextOf(stand, progress), all)
  expect(report).toMatchObject({ points: 4, good: 4, chunks: 153, nodes: 4 + 2 + 4, damagedCount: 0, lostCount: 0 })
  expect(report.bytes).toBeGreaterThan(153 * CHUNK_BYTES)
  expect(report.bytes).toBeLessThan(154 * CHUNK_BYTES + 20 * 4096)
  for (const id of ids) expect((await find(stand, id)).verifiedMs).toBe(1000)
  const { done, total } = progress.at(-1)!
  expect(done).toBeLessThanOrEqual(total!)
})

test('a machine, a point, and what was not verified for so long are chosen; what is unknown is not found', async () => {
  await using stand = await Stand.open()
  const one = await stand.machine('db1')
  const two = await stand.machine('db2')
  const { id } = await stand.point(one, randomDisk(3), 30)
  await stand.point(one, randomDisk(3), 31)
  await stand.point(two, [null, null], 32)
  expect(await verify(stand, { point: id.slice(0, 8) })).toMatchObject({ points: 1, good: 1, chunks: 3 })
  expect(await verify(stand, { olderThanDays: 0 })).toMatchObject({ points: 2, chunks: 3 })
  expect(await verify(stand, { olderThanDays: 1 })).toMatchObject({ points: 0, good: 0 })
  expect(await verify(stand, { machine: 'db2' })).toMatchObject({ points: 1, chunks: 0, nodes: 0 })
  expect(await codeOf(verify(stand, { machine: 'db9' }))).toBe('NOT_FOUND')
  expect(await codeOf(verify(stand, { point: 'ffffffff-0000' }))).toBe('NOT_FOUND')
})

test('chunks, nodes, manifests and the ends of packs: each is found once, named, and healed by what comes again', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(200)
  const { id: one } = await stand.point(machine, plains, 30)
  const { id: two } = await stand.point(machine, changed(plains, 150), 31)
  const { catalog } = stand.datastore
  const { manifest } = (await catalog.points.roots({ tenant: stand.tenant.id, point: two }))!
  await damager.flip(damager.chunkId(plains[7]!))
  await damager.flip(
    damager.nodesOf(diskOf(plains), CHUNK_BYTES).find(({ position, level }) => level === 0 && position === 64)!.id,
  )
  await damager.flip(manifest)
  const found = await verify(stand)
  expect(found).toMatchObject({ points: 2, good: 0, damagedCount: 3, lostCount: 4 })
  expect(found.damaged.map(({ type }) => type).toSorted()).toEqual(['chunk', 'manifest', 'node'])
  expect(found.lost.filter(({ point }) => point === one).map(({ offset, length }) => [offset, length])).toEqual([
    [7 * CHUNK_BYTES, CHUNK_BYTES],
    [64 * CHUNK_BYTES, 64 * CHUNK_BYTES],
  ])
  // the catalog has all that a manifest says, so it is written again at once
  const again = (await catalog.points.roots({ tenant: stand.tenant.id, point: two }))!.manifest
  expect(Buffer.compare(again, manifest)).not.toBe(0)
  const store = stand.datastore.tenantStore(stand.tenant)
  expect(decodeManifest((await store.readRecord(again)).plain)).toMatchObject({
    point: two,
    machine: 'db1',
    committedMs: 31,
  })
  // what is known is not told again
  expect(await verify(stand)).toMatchObject({ points: 2, good: 0, damagedCount: 0, damaged: [], lostCount: 4 })
  await stand.point(machine, plains, 32)
  expect((await find(stand, one)).verifiedMs).toBeNull()
  expect(await verify(stand)).toMatchObject({ points: 3, good: 3, damagedCount: 0, lostCount: 0 })
  // a pack that was cut
  const { file } = damager.place(damager.chunkId(plains[0]!))
  await truncate(file, (await readFile(file)).length - 3 * CHUNK_BYTES)
  const cut = await verify(stand)
  expect(cut.damagedCount).toBeGreaterThan(0)
  expect(cut.good).toBeLessThan(3)
  expect(cut.damaged.every(({ reason }) => reason.length > 0)).toBe(true)
})

test('a damaged state is written anew', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  await stand.point(await stand.machine('db1'), randomDisk(3))
  const { datastore, tenant } = stand
  const store = datastore.tenantStore(tenant)
  await store.writeState()
  const records = () => datastore.catalog.states.records({ tenant: tenant.id })
  const before = await records()
  expect(before).toHaveLength(32)
  await damager.flip(before)
  expect(await verify(stand)).toMatchObject({ good: 1, damagedCount: 1, damaged: [{ type: 'state' }] })
  const after = await records()
  expect(Buffer.compare(after, before)).not.toBe(0)
  await store.readRecord(after)
  expect(await datastore.catalog.damage.any({ tenant: tenant.id })).toBe(false)
  expect(await verify(stand)).toMatchObject({ good: 1, damagedCount: 0 })
})

test('what a prune and a collection take away meanwhile is no damage', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const kept = randomDisk(40)
  const gone: string[] = []
  for (let index = 0; index < 12; index++) gone.push((await stand.point(machine, randomDisk(40), 30 + index)).id)
  await stand.point(machine, kept, 50)
  const verifying = verify(stand)
  for (const id of gone) {
    removePoints(stand, id)
    await collected(stand)
  }
  const report = await verifying
  expect(report).toMatchObject({ damagedCount: 0, lostCount: 0 })
  expect(report.good).toBe(report.points)
  expect(await verify(stand)).toMatchObject({ points: 1, good: 1, damagedCount: 0 })
})

test('a disk error is no damage: nothing leaves the index', async () => {
  await using stand = await Stand.open()
  await stand.point(await stand.machine('db1'), randomDisk(70))
  {
    using _armed = armFailpoints((name) => {
      if (name === 'pack.read') throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
    })
    expect(await codeOf(verify(stand))).toBe('STORE_FAILED')
  }
  expect(await verify(stand)).toMatchObject({ points: 1, good: 1, damagedCount: 0 })
})

test('one that is stopped keeps what it found', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(70)
  await stand.point(machine, plains)
  await damager.flip(damager.chunkId(plains[0]!))
  const abort = new AbortController()
  const context = contextOf(stand, [], abort.signal)
  const stopping = verifyPoints(
    {
      ...context,
      onProgress: ({ phase }) => phase === 'attribute' && abort.abort(new VarveError('CANCELLED', 'enough')),
    },
    { point: null, machine: null, olderThanDays: null, bytesPerSecond: null },
  )
  expect(await codeOf(stopping)).toBe('CANCELLED')
  expect(await stand.datastore.catalog.damage.any({ tenant: stand.tenant.id })).toBe(true)
  expect(await verify(stand)).toMatchObject({ points: 1, good: 0, damagedCount: 0, lostCount: 1 })
})

test('what lies below a lost node is looked at as well, so that one more backup heals all of it', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(5000)
  const { root } = await stand.point(machine, plains, 30)
  const nodes = damager.nodesOf(diskOf(plains), CHUNK_BYTES)
  const at = (level: number, position: number): Uint8Array =>
    nodes.find((node) => node.level === level && node.position === position)!.id
  // a node, one below it, and a chunk below that; and one that is below the first only
  await damager.flip(at(1, 0))
  await damager.flip(at(0, 64))
  await damager.flip(stand.idOf(plains[70]!))
  await damager.flip(stand.idOf(plains[200]!))
  const report = await verify(stand)
  expect(report).toMatchObject({ good: 0, damagedCount: 4 })
  expect(report.lost).toMatchObject([{ offset: 0, length: 4096 * CHUNK_BYTES }])
  const again = await stand.point(machine, plains, 40)
  expect(again.root).toEqual(root)
  expect(await verify(stand)).toMatchObject({ points: 2, good: 2, damagedCount: 0, lostCount: 0 })
})

test('a damaged bundle damages each of its chunks, and whoever brings one again heals that one', async () => {
  await using stand = await Stand.open()
  stand.together = 4
  const machine = await stand.machine('db1')
  const plains = randomDisk(12)
  await stand.point(machine, plains, 30)
  await new Damager(stand.folder).flip(stand.idOf(plains[6]!))
  const found = await verify(stand)
  const hurt = plains.slice(4, 8).map((plain) => hex(stand.idOf(plain)))
  expect(found).toMatchObject({ points: 1, good: 0, chunks: 12, damagedCount: 4 })
  expect(found.damaged.map(({ id }) => id).toSorted()).toEqual(hurt.toSorted())
  expect(found.lost.map(({ offset, length }) => [offset, length])).toEqual([[4 * CHUNK_BYTES, 4 * CHUNK_BYTES]])
  await stand.point(machine, [plains[5]!, null], 40)
  expect((await verify(stand)).lost.map(({ offset, length }) => [offset, length])).toEqual([
    [4 * CHUNK_BYTES, CHUNK_BYTES],
    [6 * CHUNK_BYTES, 2 * CHUNK_BYTES],
  ])
  await stand.point(machine, plains, 50)
  expect(await verify(stand)).toMatchObject({ good: 3, lostCount: 0 })
})
