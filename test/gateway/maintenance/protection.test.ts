// What an upload's writer protects from a collection that begins at the worst moment, and what a collection leaves alone.
import { intercept } from '../../support/intercept.ts'
import { randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import type { OperationName } from '../../../gateway/catalog/sqlite/operations.ts'
import type { UploadWriter } from '../../../gateway/datastore/upload-writer.ts'
import type { Protection } from '../../../gateway/coordination/coordination.ts'
import { RecordReader } from '../../../gateway/packs/record-reader.ts'
import { openPackStore } from '../../../gateway/packs/open-pack-store.ts'
import { Stand } from '../chains/script.ts'
import { addUpload, batchOf, plainChunk, progressAt, treeOf } from '../datastore/fixture.ts'
import { changed, collected, packBytes, randomDisk, readImage, removePoints } from './stand.ts'

/** Holds the next call of one operation, after it was done and before its answer is seen. */
const holdAnswer = (catalog: Catalog, wanted: OperationName): { reached: Promise<void>; release: () => void } => {
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const giveBack = intercept(catalog, async (name, _, call) => {
    const answer = await call()
    if (name !== wanted) return answer
    giveBack()
    reach()
    await released
    return answer
  })
  return { reached, release }
}

const writerOf = ({ datastore, tenant, folder }: Stand): Promise<UploadWriter> =>
  addUpload(folder, tenant).then((upload) => datastore.tenantStore(tenant).openWriter(upload))

const protect = ({ datastore, tenant }: Stand): Promise<Protection> =>
  datastore.tenantStore(tenant).references.protect()

const covers = (protection: Protection, id: Uint8Array): Promise<boolean> =>
  protection.uncovered([id], async (places) => places.length === 0)

test('a chunk that was found in the index is covered though the collection began during the look-up', async () => {
  await using stand = await Stand.open()
  await using writer = await writerOf(stand)
  const plain = plainChunk()
  await writer.append(batchOf(stand.tenant, [plain]))
  await writer.commit(progressAt(1))
  const lookUp = holdAnswer(stand.datastore.catalog, 'records.indexed')
  const append = writer.append(batchOf(stand.tenant, [plain]))
  await lookUp.reached
  await using protection = await protect(stand)
  lookUp.release()
  await append
  expect(await covers(protection, stand.idOf(plain))).toBe(true)
})

test('so is a tree node', async () => {
  await using stand = await Stand.open()
  await using writer = await writerOf(stand)
  const plain = plainChunk()
  const { nodes } = treeOf(stand.tenant, [stand.idOf(plain)])
  const lookUp = holdAnswer(stand.datastore.catalog, 'records.indexed')
  writer.addNodes(nodes)
  const commit = writer.commit(progressAt(1))
  await lookUp.reached
  await using protection = await protect(stand)
  lookUp.release()
  await commit
  expect(await covers(protection, nodes[0]!.id)).toBe(true)
})

test('what is appended is covered until it is durable, also across a commit that it came too late for', async () => {
  await using stand = await Stand.open()
  await using writer = await writerOf(stand)
  const plain = plainChunk()
  const lookUp = holdAnswer(stand.datastore.catalog, 'records.indexed')
  const append = writer.append(batchOf(stand.tenant, [plain]))
  await lookUp.reached
  await writer.commit(progressAt(1))
  lookUp.release()
  await append
  {
    await using protection = await protect(stand)
    expect(await covers(protection, stand.idOf(plain))).toBe(true)
  }
  const transaction = holdAnswer(stand.datastore.catalog, 'records.commit')
  const commit = writer.commit(progressAt(2))
  await transaction.reached
  {
    await using protection = await protect(stand)
    expect(await covers(protection, stand.idOf(plain))).toBe(true)
  }
  transaction.release()
  await commit
  await using protection = await protect(stand)
  expect(await covers(protection, stand.idOf(plain))).toBe(false)
})

test('what is committed while a collection runs is covered, whenever it was looked up', async () => {
  await using stand = await Stand.open()
  await using writer = await writerOf(stand)
  const plain = plainChunk()
  const lookUp = holdAnswer(stand.datastore.catalog, 'records.indexed')
  const append = writer.append(batchOf(stand.tenant, [plain]))
  await lookUp.reached
  await writer.commit(progressAt(1))
  await using protection = await protect(stand)
  lookUp.release()
  await append
  await writer.commit(progressAt(2))
  expect(await covers(protection, stand.idOf(plain))).toBe(true)
})

test('what a commit found in the index is covered until the commit is durable', async () => {
  await using stand = await Stand.open()
  await using writer = await writerOf(stand)
  const plain = plainChunk()
  const { nodes } = treeOf(stand.tenant, [stand.idOf(plain)])
  writer.addNodes(nodes)
  await writer.commit(progressAt(1))
  writer.addNodes(nodes)
  const transaction = holdAnswer(stand.datastore.catalog, 'records.commit')
  const commit = writer.commit(progressAt(1))
  await transaction.reached
  {
    await using protection = await protect(stand)
    expect(await covers(protection, nodes[0]!.id)).toBe(true)
  }
  transaction.release()
  await commit
  await using protection = await protect(stand)
  expect(await covers(protection, nodes[0]!.id)).toBe(false)
})

test('a writer that is closed protects nothing any more', async () => {
  await using stand = await Stand.open()
  const writer = await writerOf(stand)
  const plain = plainChunk()
  await writer.append(batchOf(stand.tenant, [plain]))
  await writer[Symbol.asyncDispose]()
  await using protection = await protect(stand)
  expect(await covers(protection, stand.idOf(plain))).toBe(false)
})

test('a manifest is covered from before it is written until its point is there', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  await stand.point(machine, randomDisk(3))
  const job = await stand.job(machine, 3 * 4096)
  await stand.uploadAll(job, randomDisk(3))
  const commit = holdAnswer(stand.datastore.catalog, 'records.commit')
  const committed = stand.commit(job, 50)
  await commit.reached
  const collecting = collected(stand)
  commit.release()
  await committed
  await collecting
  expect(await collected(stand)).toMatchObject({ points: 2, missing: 0, dead: { records: 0 } })
})

test('a disk that is uploaded whole stays so until its job ends', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(200)
  const job = await stand.job(machine, 200 * 4096)
  const { root } = await (await stand.uploadAll(job, plains)).result
  await collected(stand)
  await stand.commit(job, 50)
  expect(await readImage(stand, root, 200)).toEqual(plains)
  expect(await collected(stand)).toMatchObject({ missing: 0 })
})

test('a pack that a writer holds is neither removed nor rewritten, whatever is dead in it', async () => {
  await using stand = await Stand.open()
  await using writer = await writerOf(stand)
  const garbage = Array.from({ length: 50 }, plainChunk)
  await writer.append(batchOf(stand.tenant, garbage))
  await writer.commit(progressAt(0))
  await stand.fail({ agent: await failedAgent(stand) } as Parameters<Stand['fail']>[0])
  const report = await collected(stand, { thresholdPercent: 100 })
  expect(report.dead.records).toBe(50)
  expect(report.waiting.inUseBytes).toBeGreaterThanOrEqual(report.dead.bytes)
  expect(await packBytes(stand)).toBe(report.bytesAfter)
  const packs = await stand.datastore.catalog.collection.packs({ tenant: stand.tenant.id })
  for (const { uuid, bytes } of packs) {
    const file = path.join(stand.folder, 'packs', stand.tenant.id, uuid.slice(0, 2), `${uuid}.pack`)
    expect((await stat(file)).size).toBe(bytes)
  }
  // the writer goes on in it, and what it was told is stored is read back
  const plain = plainChunk()
  await writer.append(batchOf(stand.tenant, [plain]))
  await writer.commit(progressAt(1))
  const store = stand.datastore.tenantStore(stand.tenant)
  expect((await store.readRecord(stand.idOf(plain))).plain).toEqual(new Uint8Array(plain))
  await writer[Symbol.asyncDispose]()
  const last = await collected(stand)
  expect(last.bytesAfter).toBeLessThan(5000)
})

/** The agent of the one running job. */
const failedAgent = async ({ datastore, tenant }: Stand): Promise<string> => {
  const args = { tenant: tenant.id, agent: null, machine: null, after: null, limit: 1 }
  const { jobs } = await datastore.catalog.jobs.list(args)
  return jobs[0]!.job.agent
}

test('a record that moves between its look-up and its read is found where it went', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(100)
  const old = await stand.point(machine, plains)
  const kept = changed(plains, ...Array.from({ length: 60 }, (_, index) => index))
  await stand.point(machine, kept, 50)
  removePoints(stand, old.id)
  const { datastore, tenant } = stand
  await using packs = await openPackStore(datastore.spec.packs)
  let moves = 0
  const store = new Proxy(packs, {
    get: (target, name) => {
      if (name !== 'read') return Reflect.get(target, name, target) as unknown
      return async (...args: Parameters<typeof packs.read>) => {
        // by the time the first read comes to the pack it is gone
        if (moves++ === 0) await collected(stand)
        return packs.read(...args)
      }
    },
  })
  const reader = new RecordReader({ tenant, index: datastore.catalog.records, store })
  const ids = kept.map((plain) => stand.idOf(plain!))
  const fetched = await reader.fetch(ids)
  expect(fetched.every((one) => 'bytes' in one)).toBe(true)
  expect(moves).toBeGreaterThan(1)
  const gone = await reader.fetch([new Uint8Array(randomBytes(32))])
  expect(gone).toMatchObject([{ code: 'DATA_DAMAGED' }])
})
