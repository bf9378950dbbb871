// The garbage collection on a real datastore: what it frees, what it must leave, and what runs beside it.
import { randomBytes } from 'node:crypto'
import { open, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import { ANSWER, RUN, UP } from '../../../protocol/methods.ts'
import { armFailpoints } from '../../../gateway/common/failpoint.ts'
import { collect } from '../../../gateway/maintenance/collect.ts'
import { Damager } from '../../support/damage.ts'
import { runsOf, Stand } from '../chains/script.ts'
import { CHUNK_BYTES } from '../datastore/fixture.ts'
import { changed, collected, contextOf, packBytes, randomDisk, readImage, removePoints } from './stand.ts'

const RECORD_BYTES = CHUNK_BYTES + 52

test('collects nothing of an empty store, and nothing of one in which everything is live', async () => {
  await using stand = await Stand.open()
  expect(await collected(stand)).toMatchObject({ points: 0, dead: { records: 0 }, bytesBefore: 0, bytesAfter: 0 })
  const machine = await stand.machine('db1')
  const plains = [...randomDisk(100), null, ...randomDisk(70)]
  const { root } = await stand.point(machine, plains)
  const report = await collected(stand)
  expect(report).toMatchObject({ points: 1, dead: { records: 0, bytes: 0 }, missing: 0, bytesRewritten: 0 })
  // 170 chunks, three leaves and a root, the manifest, the tenant's state
  expect(report.live.records).toBe(170 + 4 + 1 + 1)
  expect(report.bytesAfter).toBe(report.bytesBefore)
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
})

test('frees what only removed points held, the same day, and keeps the others to the byte', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const first = randomDisk(300)
  const second = changed(first, 3, 77, 299)
  const third = changed(second, ...Array.from({ length: 150 }, (_, index) => index))
  const one = await stand.point(machine, first, 30)
  const two = await stand.point(machine, second, 40)
  const three = await stand.point(machine, third, 50)
  removePoints(stand, one.id)
  const before = await packBytes(stand)
  const plan = await collected(stand, { dryRun: true })
  expect(await packBytes(stand)).toBe(before)
  const report = await collected(stand)
  // three chunks of the first disk, the leaves that held them, its root and its manifest
  expect(report.dead.records).toBe(3 + 3 + 1 + 1)
  expect(plan.dead).toEqual(report.dead)
  for (const { root, plains } of [
    { ...two, plains: second },
    { ...three, plains: third },
  ])
    expect(await readImage(stand, root, 300)).toEqual(plains)

  removePoints(stand, two.id)
  const last = await collected(stand)
  expect(last.dead.records).toBeGreaterThan(150)
  expect(last.bytesAfter).toBeLessThan(last.bytesBefore - 140 * RECORD_BYTES)
  expect(last.bytesAfter).toBeLessThan(last.live.bytes * 1.1)
  expect(await readImage(stand, three.root, 300)).toEqual(third)
  // nothing is left to do
  expect(await collected(stand)).toMatchObject({ dead: { records: 0 }, packs: { removed: 0, rewritten: 0 } })
  await stand.reopen()
  expect(stand.datastore.report).toMatchObject({ damaged: [], unknownCount: 0 })
  expect(await readImage(stand, three.root, 300)).toEqual(third)
})

test('without a point left, all space is given back but for the state of the tenant', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const { id } = await stand.point(machine, randomDisk(200))
  removePoints(stand, id)
  const report = await collected(stand)
  expect(report).toMatchObject({ live: { records: 1 }, packs: { after: 1 } })
  expect(report.bytesAfter).toBeLessThan(2000)
  const folder = path.join(stand.folder, 'packs', stand.tenant.id)
  const left = await Promise.all((await readdir(folder)).map((prefix) => readdir(path.join(folder, prefix))))
  expect(left.flat()).toHaveLength(1)
  // the tenant goes on
  const plains = randomDisk(10)
  const { root } = await stand.point(machine, plains, 60)
  expect(await readImage(stand, root, 10)).toEqual(plains)
})

test('leaves everything that a running upload was told not to send', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(256)
  const old = await stand.point(machine, plains)
  removePoints(stand, old.id)
  const job = await stand.job(machine, 256 * CHUNK_BYTES)
  const script = stand.upload(job)
  await script.started()
  // half of the disk: garbage now, but known, so not to be sent
  expect(await script.ask(runsOf(stand.refs(plains.slice(0, 128))))).toEqual(Array(128).fill(ANSWER.have))
  const report = await collected(stand)
  expect(report.dead.records).toBeGreaterThan(0)
  // what the upload had not asked for is gone, and it is told so
  const answers = await script.ask(runsOf(stand.refs(plains.slice(128))))
  expect(answers).toEqual(Array(128).fill(ANSWER.want))
  script.supply(plains.slice(128), stand)
  script.end()
  const { root } = await script.result
  await stand.commit(job, 50)
  expect(root).toEqual(old.root)
  expect(await readImage(stand, root, 256)).toEqual(plains)
  expect(await collected(stand)).toMatchObject({ missing: 0 })
  expect(await readImage(stand, root, 256)).toEqual(plains)
})

test('an upload that asks while a collection runs either keeps the chunk or is told to send it', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(2048)
  const old = await stand.point(machine, plains)
  removePoints(stand, old.id)
  const job = await stand.job(machine, plains.length * CHUNK_BYTES)
  const collecting = collected(stand)
  // the whole upload runs beside mark, sweep and rewrite
  const script = await stand.uploadAll(job, plains, 64)
  await stand.commit(job, 50)
  await collecting
  const { root } = await script.result
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
  expect(await collected(stand)).toMatchObject({ missing: 0 })
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
})

test('an upload that was cut keeps what it had placed, and goes on from there after a collection', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(400)
  const job = await stand.job(machine, plains.length * CHUNK_BYTES)
  const script = stand.upload(job)
  const { proofKey } = await script.started()
  for (let from = 0; from < 300; from += 50)
    await script.deliver(runsOf(stand.refs(plains.slice(from, from + 50))), stand.byId(plains), proofKey)
  await script.committed(300)
  script.break(new Error('the link broke'))
  await expect(script.result).rejects.toThrow('the link broke')
  const report = await collected(stand)
  expect(report).toMatchObject({ points: 0, missing: 0 })
  expect(report.live.records).toBeGreaterThanOrEqual(300)
  const again = await stand.uploadAll(job, plains)
  expect(again.chunks).toBeLessThanOrEqual(100)
  await stand.commit(job, 50)
  expect(await readImage(stand, (await again.result).root, plains.length)).toEqual(plains)
})

test('the base of a running backup stays whole, because it may keep any part of it', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(256)
  const old = await stand.point(machine, plains)
  const job = await stand.job(machine, 256 * CHUNK_BYTES, 'incremental')
  removePoints(stand, old.id)
  await collected(stand)
  const script = stand.upload(job)
  await script.started()
  script.say([UP.runs, [[RUN.keep, 256]]])
  expect(await script.answers()).toEqual([])
  script.end()
  expect((await script.result).root).toEqual(old.root)
  await stand.commit(job, 50)
  expect(await collected(stand)).toMatchObject({ missing: 0, dead: { records: 1 } })
  expect(await readImage(stand, old.root, 256)).toEqual(plains)
})

test('a tree that is being read stays whole though its point was removed meanwhile', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(100)
  const { id, root } = await stand.point(machine, plains)
  {
    using _reading = stand.datastore.tenantStore(stand.tenant).references.hold({ tree: { root, chunks: 100 } })
    removePoints(stand, id)
    await collected(stand)
    expect(await readImage(stand, root, 100)).toEqual(plains)
  }
  await collected(stand)
  await expect(readImage(stand, root, 100)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
})

test('reads go on while the packs under them are rewritten', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  let plains: readonly (Uint8Array | null)[] = randomDisk(600)
  const points: { id: string; root: Uint8Array | null; plains: readonly (Uint8Array | null)[] }[] = []
  for (let round = 0; round < 6; round++) {
    plains = changed(plains, ...Array.from({ length: 100 }, (_, index) => (index * 5 + round) % 600))
    points.push({ ...(await stand.point(machine, plains, 30 + round)), plains })
  }
  let reading = true
  const reader = (async () => {
    while (reading)
      for (const { root, plains: disk } of points.slice(-2)) expect(await readImage(stand, root, 600)).toEqual(disk)
  })()
  for (const point of points.slice(0, -2)) {
    removePoints(stand, point.id)
    await collected(stand, { thresholdPercent: 100 })
  }
  reading = false
  await reader
})

test('one collection of a tenant at a time', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  await stand.point(machine, randomDisk(50))
  const [one, other] = await Promise.allSettled([collected(stand), collected(stand)])
  expect(one.status).toBe('fulfilled')
  expect(other).toMatchObject({ status: 'rejected', reason: { code: 'MAINTENANCE_RUNNING' } })
})

test('nothing is removed while a tree cannot be walked', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(500)
  const one = await stand.point(machine, plains)
  await stand.point(machine, changed(plains, 1, 2, 3), 40)
  removePoints(stand, one.id)
  const packs = await stand.datastore.catalog.collection.packs({ tenant: stand.tenant.id })
  const { uuid } = packs.find(({ kind }) => kind === 'nodes')!
  await rm(path.join(stand.folder, 'packs', stand.tenant.id, uuid.slice(0, 2), `${uuid}.pack`))
  const rows = await stand.datastore.catalog.collection.count({ tenant: stand.tenant.id })
  await expect(collected(stand)).rejects.toMatchObject({ code: 'TREE_UNREADABLE' })
  // all that left the index is the node itself, which is known to be damaged now
  expect(await stand.datastore.catalog.collection.count({ tenant: stand.tenant.id })).toBe(rows - 1)
})

test('stops when told to, and the next one finishes the work', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(300)
  const one = await stand.point(machine, plains)
  const second = changed(plains, ...Array.from({ length: 200 }, (_, index) => index))
  const two = await stand.point(machine, second, 40)
  removePoints(stand, one.id)
  const controller = new AbortController()
  const context = contextOf(stand, [], controller.signal)
  const stopping = {
    ...context,
    onProgress: ({ phase }: { phase: string }) => phase === 'sweep' && controller.abort(new Error('enough')),
  }
  const params = { dryRun: false, thresholdPercent: 90, bytesPerSecond: null }
  await expect(collect(stopping, params)).rejects.toThrow('enough')
  const report = await collected(stand)
  expect(report.bytesAfter).toBeLessThan(report.live.bytes * 1.1)
  expect(await readImage(stand, two.root, 300)).toEqual(second)
})

test('damaged records of a pack that is rewritten are quarantined, the others move', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(200)
  const one = await stand.point(machine, plains)
  const second = changed(plains, ...Array.from({ length: 100 }, (_, index) => index))
  const two = await stand.point(machine, second, 40)
  removePoints(stand, one.id)
  const victim = stand.idOf(second[150]!)
  const [place] = await stand.datastore.catalog.records.locate({ tenant: stand.tenant.id, ids: victim })
  const { pack, offset } = place!
  const file = path.join(stand.folder, 'packs', stand.tenant.id, pack.slice(0, 2), `${pack}.pack`)
  {
    await using handle = await open(file, 'r+')
    await handle.write(randomBytes(100), 0, 100, offset + 60)
  }
  await collected(stand)
  const store = stand.datastore.tenantStore(stand.tenant)
  await expect(store.readRecord(victim)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
  for (const [index, plain] of second.entries())
    if (index !== 150) expect((await store.readRecord(stand.idOf(plain!))).plain).toEqual(plain)
  // an upload brings it again
  const three = await stand.point(machine, second, 50)
  expect(three.root).toEqual(two.root)
  expect(await readImage(stand, two.root, 200)).toEqual(second)
  expect(await collected(stand)).toMatchObject({ missing: 0 })
  expect(await readImage(stand, two.root, 200)).toEqual(second)
})

test('a pack that is gone does not hold it up: what lay in it is damage, the rest is collected', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(200)
  const one = await stand.point(machine, plains)
  const second = changed(plains, ...Array.from({ length: 100 }, (_, index) => index))
  const two = await stand.point(machine, second, 40)
  removePoints(stand, one.id)
  await damager.removePack(stand.idOf(second[150]!))
  const report = await collected(stand)
  expect(report.dead.records).toBeGreaterThan(100)
  await expect(readImage(stand, two.root, 200)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
  const three = await stand.point(machine, second, 50)
  expect(three.root).toEqual(two.root)
  expect(await readImage(stand, two.root, 200)).toEqual(second)
  expect(await collected(stand)).toMatchObject({ missing: 0 })
  expect(await collected(stand)).toMatchObject({ dead: { records: 0 }, packs: { removed: 0, rewritten: 0 } })
  await stand.reopen()
  expect(stand.datastore.report.damaged).toEqual([])
})

test('whole records behind content that is made to look like records move all the same', async () => {
  await using stand = await Stand.open()
  // a guest fills chunks with heads of records of 4 MiB
  const hostile = (): Uint8Array => {
    const bytes = randomBytes(CHUNK_BYTES)
    for (let at = 64; at + 52 < bytes.length; at += 340) {
      bytes.write('VREC', at, 'latin1')
      bytes.set([1, 1, 0, 0], at + 40)
      bytes.writeUInt32LE(4_194_304, at + 44)
      bytes.writeUInt32LE(4_000_000 - (bytes[at + 4]! << 8), at + 48)
    }
    return new Uint8Array(bytes)
  }
  const bad = Array.from({ length: 30 }, hostile)
  await stand.point(await stand.machine('bad'), bad, 30)
  const plains = randomDisk(2300)
  const { root } = await stand.point(await stand.machine('good'), plains, 31)
  // something to gain, or nothing would be rewritten
  const { id } = await stand.point(await stand.machine('gone'), randomDisk(1), 32)
  removePoints(stand, id)
  const damager = new Damager(stand.folder)
  for (const chunk of bad) await damager.flip(stand.idOf(chunk))
  await collected(stand, { thresholdPercent: 100 })
  const gone = await stand.datastore.catalog.damage.page({ tenant: stand.tenant.id, after: null, limit: 100 })
  expect(gone.map(({ id }) => id).sort()).toEqual(bad.map((chunk) => hex(stand.idOf(chunk))).sort())
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
})

test('a pack that could not be removed is removed by the next one', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const { id } = await stand.point(machine, randomDisk(50))
  removePoints(stand, id)
  {
    using _armed = armFailpoints((name) => {
      if (name === 'unlink') throw Object.assign(new Error('busy'), { code: 'EBUSY' })
    })
    await expect(collected(stand)).rejects.toThrow('busy')
  }
  expect(await packBytes(stand)).toBeLessThan(50 * CHUNK_BYTES)
  await collected(stand)
  const folder = path.join(stand.folder, 'packs', stand.tenant.id)
  const left = await Promise.all((await readdir(folder)).map((prefix) => readdir(path.join(folder, prefix))))
  expect(left.flat()).toHaveLength(1)
})

test('a second collection finds nothing to do and leaves every pack as it is, also of a tenant that has nothing', async () => {
  await using stand = await Stand.open()
  const packs = path.join(stand.folder, 'packs', stand.tenant.id)
  const files = async (): Promise<string[]> => {
    const found = await readdir(packs, { recursive: true, withFileTypes: true })
    return found
      .filter((one) => one.isFile())
      .map((one) => one.name)
      .sort()
  }
  // what a gateway writes of a tenant before its first collection
  await stand.datastore.tenantStore(stand.tenant).writeState()
  await collected(stand)
  const empty = await files()
  expect(empty).toHaveLength(1)
  for (const thresholdPercent of [90, 100])
    expect(await collected(stand, { thresholdPercent })).toMatchObject({
      bytesRewritten: 0,
      packs: { removed: 0, rewritten: 0 },
      waiting: { belowThresholdBytes: 0 },
    })
  expect(await files()).toEqual(empty)

  const machine = await stand.machine('db1')
  await stand.point(machine, randomDisk(50))
  const { id } = await stand.point(machine, randomDisk(50))
  removePoints(stand, id)
  await collected(stand)
  const once = await files()
  expect(await collected(stand)).toMatchObject({ bytesRewritten: 0, packs: { removed: 0, rewritten: 0 } })
  expect(await files()).toEqual(once)
})

test('of chunks that are stored together the dead ones go, and their space', async () => {
  await using stand = await Stand.open()
  stand.together = 4
  const machine = await stand.machine('db1')
  const plains = randomDisk(64)
  const one = await stand.point(machine, plains, 30)
  // of each bundle two parts stay, of the first all, of the second none, of the third the outer ones
  const gone = [4, 5, 6, 7, 9, 10, ...Array.from({ length: 13 }, (_, index) => [12 + 4 * index, 13 + 4 * index]).flat()]
  const two = await stand.point(machine, changed(plains, ...gone), 40)
  const image = await readImage(stand, two.root, 64)
  expect(await collected(stand)).toMatchObject({ dead: { records: 0 }, packs: { rewritten: 0 } })
  removePoints(stand, one.id)
  const report = await collected(stand)
  // the chunks, their leaf, which is the root, and the manifest
  expect(report.dead.records).toBe(gone.length + 2)
  expect(report.bytesBefore - report.bytesAfter).toBeGreaterThan(gone.length * CHUNK_BYTES)
  expect(report.bytesAfter).toBeLessThan(64 * RECORD_BYTES + 8000)
  expect(await readImage(stand, two.root, 64)).toEqual(image)
  // all that is left is live, to the byte but for the headers of packs
  const again = await collected(stand)
  expect(again).toMatchObject({ dead: { records: 0 }, packs: { rewritten: 0 }, missing: 0 })
  expect(again.bytesAfter - again.live.bytes).toBe(48 * again.packs.after)
  expect(await stand.datastore.catalog.condition.examine({ trusted: false })).toEqual([])
})

test('chunks that are like those beside them take no more room than before when these go', async () => {
  await using stand = await Stand.open()
  stand.together = 4
  const machine = await stand.machine('db1')
  // within a bundle all are the same but for a byte
  const plains = randomDisk(32).flatMap((like) => [0, 1, 2, 3].map((byte) => Uint8Array.from(like).fill(byte, 0, 1)))
  const one = await stand.point(machine, plains, 30)
  const left = plains.map((plain, index) => (index % 2 === 0 ? plain : null))
  const two = await stand.point(machine, left, 40)
  removePoints(stand, one.id)
  const report = await collected(stand)
  expect(report.packs.rewritten).toBeGreaterThan(0)
  expect(report.bytesAfter).toBeLessThan(report.bytesBefore)
  expect(await readImage(stand, two.root, left.length)).toEqual(left)
  const again = await collected(stand)
  expect(again).toMatchObject({ dead: { records: 0 }, packs: { rewritten: 0 }, missing: 0 })
  expect(again.bytesAfter - again.live.bytes).toBe(48 * again.packs.after)
})

test('what was told to a running upload of a bundle is kept, though the rest of the bundle goes', async () => {
  await using stand = await Stand.open()
  stand.together = 4
  const machine = await stand.machine('db1')
  const plains = randomDisk(64)
  const old = await stand.point(machine, plains)
  removePoints(stand, old.id)
  const job = await stand.job(machine, 16 * CHUNK_BYTES)
  const script = stand.upload(job)
  await script.started()
  const disk = Array.from({ length: 16 }, (_, index) => plains[4 * index + 2]!)
  expect(await script.ask(runsOf(stand.refs(disk)))).toEqual(Array(16).fill(ANSWER.have))
  await collected(stand)
  script.end()
  const { root } = await script.result
  await stand.commit(job, 50)
  await collected(stand)
  expect(await readImage(stand, root, 16)).toEqual(disk)
})
