// The write order that survives power loss. Method: a real store and database, wrapped to note what is synced; each
// transaction may name only that.
import { intercepted } from '../../support/intercept.ts'
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { openThread } from '../../../gateway/catalog/sqlite/database.ts'
import type { OperationArgs } from '../../../gateway/catalog/sqlite/operations.ts'
import { DirectoryPackStore } from '../../../gateway/packs/directory/directory-pack-store.ts'
import { recordBytes } from '../../../gateway/packs/format.ts'
import { UploadWriter } from '../../../gateway/datastore/upload-writer.ts'
import { Limiter } from '../../../protocol/host/limiter.ts'
import { NodeCache } from '../../../gateway/trees/node-cache.ts'
import { PackPool } from '../../../gateway/packs/pack-pool.ts'
import type { PackFile, Packs } from '../../../gateway/packs/pack-store.ts'
import { Ballast } from '../../../gateway/folder/ballast.ts'
import { BallastKeeper } from '../../../gateway/datastore/ballast-keeper.ts'
import { diskSpace } from '../../../gateway/folder/reserve.ts'
import { InProcessCoordination } from '../../../gateway/coordination/in-process.ts'
import { Space } from '../../../gateway/datastore/space.ts'
import { TenantStore } from '../../../gateway/datastore/tenant-store.ts'
import { RecordPool } from '../../../gateway/packs/record-pool.ts'
import {
  addUpload,
  batchOf,
  chunkId,
  memoryLog,
  newManifest,
  plainChunk,
  progressAt,
  temporaryFolder,
  treeOf,
} from './fixture.ts'

/** What would survive if the power went now. */
class Survivors {
  /** Synced length by pack uuid. */
  readonly packs = new Map<string, number>()
  /** Pack uuid by row id. */
  readonly rows = new Map<number, string>()

  file(pack: string, file: PackFile): PackFile {
    return {
      get bytes() {
        return file.bytes
      },
      get broken() {
        return file.broken
      },
      append: (bytes) => file.append(bytes),
      sync: async () => {
        const { bytes } = file
        await file.sync()
        this.packs.set(pack, bytes)
      },
      [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
    }
  }

  store(store: Packs): Packs {
    return {
      costs: store.costs,
      create: async (name, header) => {
        expect([...this.rows.values()]).toContain(name.pack)
        const file = await store.create(name, header)
        this.packs.set(name.pack, file.bytes)
        return this.file(name.pack, file)
      },
      open: async (name, bytes) => this.file(name.pack, await store.open(name, bytes)),
      read: (name, offset, length) => store.read(name, offset, length),
      size: (name) => store.size(name),
      remove: (names) => store.remove(names),
      list: (tenant) => store.list(tenant),
    }
  }

  catalog(catalog: Catalog, commits: number[]): Catalog {
    return intercepted(catalog, async (name, args, call) => {
      if (name === 'records.commit' || name === 'states.commit') {
        const { packs, records } = args as OperationArgs<'records.commit'>
        for (const { id, bytes } of packs) expect(this.packs.get(this.rows.get(id)!)).toBeGreaterThanOrEqual(bytes)
        for (const { pack, offset, storedLength } of records)
          expect(this.packs.get(this.rows.get(pack)!)).toBeGreaterThanOrEqual(offset + recordBytes(storedLength))
        commits.push(records.length)
      }
      const result = await call()
      if (name === 'packs.add') this.rows.set(result as number, (args as OperationArgs<'packs.add'>).uuid)
      return result
    })
  }
}

test('no transaction names bytes that are not synced, while appends, nodes, commits and manifests run beside one another', async () => {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(await temporaryFolder())
  const survivors = new Survivors()
  const commits: number[] = []
  const real = stack.use(await openThread(path.join(folder.path, 'catalog.db')))
  const catalog = survivors.catalog(real, commits)
  const store = survivors.store(stack.use(await DirectoryPackStore.open(path.join(folder.path, 'packs'))))
  const recordPool = stack.use(new RecordPool(2))
  const log = memoryLog()
  const packs = new PackPool({ store, book: catalog.packs, log, nowMs: () => 1 })
  const rest = { name: 'one', id: randomUUID(), idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }
  const tenant = await catalog.tenants.add(rest)
  const ballast = new Ballast(path.join(folder.path, 'ballast'))
  const keeper = new BallastKeeper({
    ballast,
    packs: ballast,
    catalog,
    catalogFile: path.join(folder.path, 'catalog.db'),
    log,
  })
  const space = new Space({ look: () => diskSpace(folder.path), catalog, log, reserveBytes: null, ballast: keeper })
  const limiter = new Limiter({ weightMax: 2 ** 20, waitingMax: 1000 })
  const tenantStore = new TenantStore({
    tenant,
    catalog,
    store,
    packs,
    ballast,
    recordPool,
    log,
    nodeCache: new NodeCache(),
    references: new InProcessCoordination().references(tenant.id),
    nowMs: () => 1,
    onDamage: async () => {},
    openWriter: async (options) =>
      new UploadWriter({ ...options, catalog, packs, space, recordPool, limiter, log, onClose: () => {} }),
  })

  const upload = async (): Promise<number> => {
    await using writer = await tenantStore.openWriter(await addUpload(folder.path, tenant))
    let position = 0
    const send = async (batch: number): Promise<void> => {
      const plains = Array.from({ length: 1 + (batch % 5) }, plainChunk)
      await writer.append(batchOf(tenant, plains))
      position += plains.length
      writer.addNodes(
        treeOf(
          tenant,
          plains.map((plain) => chunkId(tenant, plain)),
        ).nodes,
      )
      if (batch % 2 === 0) await writer.commit(progressAt(position))
      if (batch % 7 === 0) await tenantStore.writeManifest(newManifest())
    }
    await Promise.all(Array.from({ length: 30 }, (_, batch) => send(batch)))
    await writer.commit(progressAt(position))
    return position
  }
  const positions = await Promise.all([upload(), upload()])
  // chunks, nodes and manifests are all in some transaction
  expect(commits.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(positions[0] + positions[1])
})
