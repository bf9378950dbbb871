// Uploads into a real datastore: what a commit covers, what is never stored twice, how packs are shared out, and a disk
// that fills up.
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdir, statfs, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import { Datastore } from '../../../gateway/datastore/datastore.ts'
import { PACK_BYTES_MAX } from '../../../gateway/packs/format.ts'
import { BATCH_BYTES_MAX, BATCH_CHUNKS_MAX, type UploadWriter } from '../../../gateway/datastore/upload-writer.ts'
import { plainOf, splitChunks, type JoinedChunks } from '../../protocol/wire-chunks.ts'
import {
  addTenant,
  addUpload,
  batchOf,
  chunkId,
  memoryLog,
  openDatastore,
  plainChunk,
  progressAt,
  temporaryFolder,
  treeOf,
  type TemporaryFolder,
  nodeOf,
} from './fixture.ts'

const MEBIBYTE = 1024 * 1024

interface Setting extends AsyncDisposable {
  readonly folder: TemporaryFolder
  readonly datastore: Datastore
  readonly tenant: Tenant
}

const setUp = async (chunkBytes?: number): Promise<Setting> => {
  const folder = await temporaryFolder()
  const datastore = await openDatastore(folder.path)
  const tenant = await addTenant(datastore, 'one', chunkBytes)
  return {
    folder,
    datastore,
    tenant,
    [Symbol.asyncDispose]: async () => {
      await datastore[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const openWriter = ({ datastore, folder, tenant }: Setting): Promise<UploadWriter> =>
  addUpload(folder.path, tenant).then((upload) => datastore.tenantStore(tenant).openWriter(upload))

const packList = ({ datastore }: Setting) => datastore.catalog.packs.list()

describe('commit', () => {
  test('makes chunks visible, not before, with the upload row in the same transaction', async () => {
    await using setting = await setUp()
    const { datastore, folder, tenant } = setting
    const upload = await addUpload(folder.path, tenant)
    const store = datastore.tenantStore(tenant)
    await using writer = await store.openWriter(upload)
    const plains = Array.from({ length: 10 }, plainChunk)
    const ids = plains.map((plain) => chunkId(tenant, plain))
    await writer.append(batchOf(tenant, plains))
    expect([...(await store.have(ids, upload.machine))]).toEqual(Array(10).fill(0))
    const stored = await writer.commit(
      progressAt(10, { state: new Uint8Array(1000).subarray(5, 9), bytesSent: 77, changedBytes: 3 }),
    )
    expect([...(await store.have(ids, upload.machine))]).toEqual(Array(10).fill(2))
    expect([...(await store.have(ids, 'another'))]).toEqual(Array(10).fill(1))
    expect(await datastore.catalog.jobs.upload(upload)).toMatchObject({
      position: 10,
      state: new Uint8Array(4),
      bytesSent: 77,
      changedBytes: 3,
      bytesStored: stored,
      finished: false,
      root: null,
    })
    expect(writer.storedBytes).toBe(stored)
  })

  test('an upload that is gone ends the writer, and nothing of that commit is there', async () => {
    await using setting = await setUp()
    const { datastore, tenant } = setting
    const store = datastore.tenantStore(tenant)
    const plain = plainChunk()
    {
      await using writer = await store.openWriter({ job: 'none', disk: 'vda', machine: 'none' })
      await writer.append(batchOf(tenant, [plain]))
      await expect(writer.commit(progressAt(1))).rejects.toMatchObject({ code: 'JOB_ENDED' })
      await expect(writer.append(batchOf(tenant, [plain]))).rejects.toMatchObject({ code: 'JOB_ENDED' })
      expect(() => writer.addNodes([])).toThrow(expect.objectContaining({ code: 'JOB_ENDED' }))
    }
    expect([...(await store.have([chunkId(tenant, plain)], 'none'))]).toEqual([0])
    // its pack holds bytes that the index will never know: it is ended, not used on
    expect((await packList(setting)).map(({ state }) => state)).toEqual(['sealed'])
  })

  test('commits beside appends: everything that resolved before a commit is in it', async () => {
    await using setting = await setUp()
    const { datastore, tenant } = setting
    const store = datastore.tenantStore(tenant)
    await using writer = await openWriter(setting)
    const ids: Uint8Array[] = []
    const send = async (batch: number): Promise<void> => {
      const plains = Array.from({ length: 1 + (batch % 7) }, plainChunk)
      await writer.append(batchOf(tenant, plains))
      ids.push(...plains.map((plain) => chunkId(tenant, plain)))
      if (batch % 3 > 0) return
      const covered = [...ids]
      await writer.commit(progressAt(covered.length))
      expect((await store.have(covered, 'none')).every((answer) => answer > 0)).toBe(true)
    }
    await Promise.all(Array.from({ length: 40 }, (_, batch) => send(batch)))
    await writer.commit(progressAt(ids.length))
    expect(splitChunks(await store.readStored(ids)).map(({ id }) => id)).toEqual(ids)
  })
})

describe('nothing twice', () => {
  test('a chunk that is in the batch, the upload or the index already is not stored again', async () => {
    await using setting = await setUp()
    const { tenant } = setting
    const plain = plainChunk()
    const [one, two] = [await openWriter(setting), await openWriter(setting)]
    await one.append(batchOf(tenant, [plain, plain]))
    await one.append(batchOf(tenant, [plain]))
    const first = await one.commit(progressAt(1))
    await one.append(batchOf(tenant, [plain]))
    expect(await one.commit(progressAt(2))).toBe(0)
    await two.append(batchOf(tenant, [plain]))
    expect(await two.commit(progressAt(1))).toBe(0)
    const [pack, ...others] = await packList(setting)
    expect(others).toEqual([])
    expect(pack!.bytes).toBe(48 + first)
  })

  test('two uploads that race with the same new chunk both end well, and it reads back', async () => {
    await using setting = await setUp()
    const { datastore, tenant } = setting
    const plain = plainChunk()
    const [one, two] = [await openWriter(setting), await openWriter(setting)]
    await Promise.all([one, two].map((writer) => writer.append(batchOf(tenant, [plain]))))
    const stored = await Promise.all([one, two].map((writer) => writer.commit(progressAt(1))))
    expect(stored.filter((bytes) => bytes > 0)).toHaveLength(1)
    const { plain: read } = await datastore.tenantStore(tenant).readRecord(chunkId(tenant, plain))
    expect(Buffer.from(read).equals(plain)).toBe(true)
  })

  test('what was just found absent is looked up again only where another upload may have brought it since', async () => {
    await using setting = await setUp()
    const { datastore, tenant } = setting
    const { arrivals } = datastore.tenantStore(tenant)
    const lookUps = vi.spyOn(datastore.catalog.records, 'indexed')
    const [alone, before, late] = [plainChunk(), plainChunk(), plainChunk()]
    const one = await openWriter(setting)
    await one.append(batchOf(tenant, [alone]), arrivals.mark)
    expect(await one.commit(progressAt(1))).toBeGreaterThan(0)
    await using two = await openWriter(setting)
    const { mark } = arrivals
    await one.append(batchOf(tenant, [before]), mark)
    expect(await one.commit(progressAt(2))).toBeGreaterThan(0)
    await two.append(batchOf(tenant, [late]), mark)
    expect(lookUps).not.toHaveBeenCalled()
    await two.append(batchOf(tenant, [before]), mark)
    expect(lookUps).toHaveBeenCalledOnce()
    const { length } = batchOf(tenant, [late]).stored
    expect(await two.commit(progressAt(2))).toBeLessThan(2 * length)
    const [first, second] = await packList(setting)
    const bytes = (first?.bytes ?? 0) + (second?.bytes ?? 0)
    expect(bytes).toBe(2 * 48 + one.storedBytes + two.storedBytes)
    await one[Symbol.asyncDispose]()
  })

  test('tree nodes are stored once, and their ids are not chunks', async () => {
    await using setting = await setUp()
    const { datastore, tenant } = setting
    const store = datastore.tenantStore(tenant)
    const plain = plainChunk()
    const { root, nodes } = treeOf(tenant, Array(5000).fill(chunkId(tenant, plain)))
    await using writer = await openWriter(setting)
    await writer.append(batchOf(tenant, [plain]))
    writer.addNodes(nodes)
    expect(await writer.commit(progressAt(5000, { finished: true, root }))).toBeGreaterThan(0)
    writer.addNodes(nodes)
    expect(await writer.commit(progressAt(5000, { finished: true, root }))).toBe(0)
    expect((await nodeOf(store, root!)).level).toBe(2)
    expect([...(await store.have([root!, chunkId(tenant, plain)], 'none'))]).toEqual([0, 1])
    expect(await store.prove([root!], new Uint8Array(32))).toEqual([null])
  })

  test('more nodes than wait for a commit are written before it', async () => {
    await using setting = await setUp()
    const { datastore, tenant } = setting
    const refs = Array.from({ length: 64 * 1500 }, (_, index) => chunkId(tenant, Buffer.from(`${index >> 6}`)))
    const { root, nodes } = treeOf(tenant, refs)
    expect(nodes.length).toBeGreaterThan(1500)
    await using writer = await openWriter(setting)
    for (const node of nodes) writer.addNodes([node])
    await writer.commit(progressAt(refs.length, { finished: true, root }))
    const found = await datastore.tenantStore(tenant).nodes.fresh(
      nodes.map(({ id }) => id),
      null,
    )
    expect(found).toMatchObject(nodes.map(({ level }) => ({ level })))
  })
})

describe('the bytes of a batch', () => {
  test('are taken where they have a large buffer to themselves, and left alone where they share one', async () => {
    await using setting = await setUp()
    const { datastore, tenant } = setting
    const store = datastore.tenantStore(tenant)
    await using writer = await openWriter(setting)
    const batches = [2, 100, 100].map((count) => Array.from({ length: count }, () => randomBytes(4096)))
    const [small, alone, shared] = batches.map((plains) => batchOf(tenant, plains)) as [
      JoinedChunks,
      JoinedChunks,
      JoinedChunks,
    ]
    const frame = new Uint8Array(shared.stored.length + 20)
    frame.set(shared.stored, 10)
    const view = frame.subarray(10, -10)
    await Promise.all([small, alone, { heads: shared.heads, stored: view }].map((batch) => writer.append(batch)))
    expect([small.stored.length, alone.stored.length]).toEqual([2 * 4096, 0])
    expect(Buffer.compare(view, shared.stored)).toBe(0)
    await writer.commit(progressAt(1))
    const plains = batches.flat()
    const read = await store.readStored(plains.map((plain) => chunkId(tenant, plain)))
    expect(Buffer.concat(splitChunks(read).map(plainOf)).equals(Buffer.concat(plains))).toBe(true)
    // the heads of records that are read together lie in one buffer, and stay when their bytes are freed
    expect(splitChunks(read).map(({ id }) => hex(id))).toEqual(plains.map((plain) => hex(chunkId(tenant, plain))))
  })
})

describe('refusals', () => {
  test('a chunk that is not what it says is named and leaves the writer usable', async () => {
    await using setting = await setUp()
    const { datastore, tenant } = setting
    const store = datastore.tenantStore(tenant)
    await using writer = await openWriter(setting)
    const [good, bad] = [plainChunk(), plainChunk()]
    const batch = batchOf(tenant, [bad])
    batch.stored[0]! ^= 1
    const id = Buffer.from(chunkId(tenant, bad)).toString('hex')
    await expect(writer.append(batch)).rejects.toMatchObject({ code: 'CHUNK_INVALID', details: { id } })
    await writer.append(batchOf(tenant, [good]))
    await writer.commit(progressAt(1))
    expect([...(await store.have([chunkId(tenant, good), chunkId(tenant, bad)], 'none'))]).toEqual([1, 0])
  })

  test('a batch past the limits is refused', async () => {
    await using setting = await setUp()
    await using writer = await openWriter(setting)
    const some = (count: number) =>
      batchOf(
        setting.tenant,
        Array.from({ length: count }, () => new Uint8Array(1)),
      )
    const tooMany = some(BATCH_CHUNKS_MAX + 1)
    const { heads } = some(1)
    const tooLarge = { heads, stored: new Uint8Array(BATCH_BYTES_MAX + 1) }
    await expect(writer.append(tooMany)).rejects.toMatchObject({ code: 'UPLOAD_INVALID' })
    await expect(writer.append(tooLarge)).rejects.toMatchObject({ code: 'UPLOAD_INVALID' })
  })
})

describe('packs', () => {
  test('many small uploads one after the other share one pack of each kind', async () => {
    await using setting = await setUp()
    const { tenant } = setting
    for (let upload = 0; upload < 12; upload++) {
      await using writer = await openWriter(setting)
      const plain = plainChunk()
      const { root, nodes } = treeOf(tenant, [chunkId(tenant, plain)])
      await writer.append(batchOf(tenant, [plain]))
      writer.addNodes(nodes)
      await writer.commit(progressAt(1, { finished: true, root }))
    }
    expect((await packList(setting)).map(({ kind }) => kind).sort()).toEqual(['data', 'nodes'])
  })

  test('uploads at the same time have packs of their own, which later ones use on', async () => {
    await using setting = await setUp()
    const { tenant } = setting
    for (let round = 0; round < 3; round++) {
      const writers = await Promise.all([1, 2, 3].map(() => openWriter(setting)))
      for (const writer of writers) await writer.append(batchOf(tenant, [plainChunk()]))
      for (const writer of writers) await writer.commit(progressAt(1))
      for (const writer of writers) await writer[Symbol.asyncDispose]()
    }
    expect(await packList(setting)).toHaveLength(3)
  })

  test('a full pack is sealed, never larger than the limit, and reads back', async () => {
    await using setting = await setUp(MEBIBYTE)
    const { datastore, folder, tenant } = setting
    const ids: Uint8Array[] = []
    {
      await using writer = await openWriter(setting)
      for (let batch = 0; batch < 10; batch++) {
        const plains = Array.from({ length: 8 }, () => new Uint8Array(randomBytes(MEBIBYTE)))
        ids.push(...plains.map((plain) => chunkId(tenant, plain)))
        await writer.append(batchOf(tenant, plains))
      }
      await writer.commit(progressAt(80))
    }
    const packs = await packList(setting)
    expect(packs.map(({ state }) => state)).toEqual(['sealed', 'open'])
    for (const { bytes } of packs) expect(bytes).toBeLessThanOrEqual(PACK_BYTES_MAX)
    for (const id of ids) await datastore.tenantStore(tenant).readRecord(id)
    await datastore[Symbol.asyncDispose]()
    await using again = await openDatastore(folder.path)
    expect(again.report).toMatchObject({ reused: 1, sealed: 0, damaged: [] })
  })

  test('an upload that ends without a commit leaves no pack that is ended half empty', async () => {
    await using setting = await setUp()
    const { tenant } = setting
    for (let upload = 0; upload < 5; upload++) {
      await using writer = await openWriter(setting)
      await writer.append(batchOf(tenant, [plainChunk()]))
    }
    expect((await packList(setting)).map(({ state }) => state)).toEqual(['open'])
  })
})

/** Mounts a small memory file system on a folder until disposed. */
const smallDisk = (folder: string, bytes: number): Disposable => {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'varve-test', folder])
  return { [Symbol.dispose]: () => void execFileSync('umount', [folder]) }
}

/** A datastore whose uploads go on until the disk is full. */
const openWithoutReserve = (folder: string): Promise<Datastore> =>
  Datastore.open({ folder, log: memoryLog(), threads: 2, reserveBytes: 0 })

describe('no space left', () => {
  test('ends the writer with STORE_FULL; what was committed survives, and with space again uploads go on', async () => {
    await using folder = await temporaryFolder()
    using stack = new DisposableStack()
    stack.use(smallDisk(folder.path, 24 * MEBIBYTE))
    const committed: Uint8Array[] = []
    let tenant: Tenant
    {
      await using datastore = await openWithoutReserve(folder.path)
      tenant = await addTenant(datastore, 'one', MEBIBYTE)
      const upload = await addUpload(folder.path, tenant)
      const other = await addUpload(folder.path, tenant)
      const writer = await datastore.tenantStore(tenant).openWriter(upload)
      const fill = async (): Promise<void> => {
        for (let position = 1; ; position++) {
          const plain = new Uint8Array(randomBytes(MEBIBYTE))
          await writer.append(batchOf(tenant, [plain]))
          await writer.commit(progressAt(position))
          committed.push(chunkId(tenant, plain))
        }
      }
      await expect(fill()).rejects.toMatchObject({ code: 'STORE_FULL' })
      await expect(writer.commit(progressAt(0))).rejects.toMatchObject({ code: 'STORE_FULL' })
      await writer[Symbol.asyncDispose]()
      expect(committed.length).toBeGreaterThan(10)
      for (const id of committed) await datastore.tenantStore(tenant).readRecord(id)

      // retries on the full disk leave nothing that piles up
      const files = async (): Promise<number> => (await readdir(folder.path, { recursive: true })).length
      await writeFile(path.join(folder.path, 'ballast'), new Uint8Array(await freeBytes(folder.path)))
      for (let retry = 0; retry < 5; retry++) {
        const again = await datastore.tenantStore(tenant).openWriter(other)
        await expect(again.append(batchOf(tenant, [new Uint8Array(randomBytes(MEBIBYTE))]))).rejects.toMatchObject({
          code: 'STORE_FULL',
        })
        await again[Symbol.asyncDispose]()
      }
      const before = await files()
      execFileSync('mount', ['-o', `remount,size=${64 * MEBIBYTE}`, folder.path])
      await using last = await datastore.tenantStore(tenant).openWriter(other)
      await last.append(batchOf(tenant, [new Uint8Array(randomBytes(MEBIBYTE))]))
      await last.commit(progressAt(1))
      // one new pack, perhaps in a folder of its own
      expect((await files()) - before).toBeLessThanOrEqual(2)
    }
    await using datastore = await openWithoutReserve(folder.path)
    expect(datastore.report).toMatchObject({ damaged: [], unknown: [] })
    for (const id of committed) await datastore.tenantStore(tenant).readRecord(id)
  })
})

const freeBytes = async (folder: string): Promise<number> => {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
