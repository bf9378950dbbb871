// Handing out packs: one writer at a time, the fullest that has room first, and what becomes of packs that come back in
// every state.
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { randomUUID } from 'node:crypto'
import { appendFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { openThread, type ThreadCatalog } from '../../../gateway/catalog/sqlite/database.ts'
import { DirectoryPackStore } from '../../../gateway/packs/directory/directory-pack-store.ts'
import { PACK_BYTES_MAX, PACK_HEADER_BYTES } from '../../../gateway/packs/format.ts'
import { PackPool, type HeldPack } from '../../../gateway/packs/pack-pool.ts'
import { memoryLog, temporaryFolder } from '../datastore/fixture.ts'

interface Setting extends AsyncDisposable {
  readonly pool: PackPool
  readonly catalog: ThreadCatalog
  readonly store: DirectoryPackStore
  readonly tenant: Tenant
  readonly fileOf: (held: HeldPack) => string
  readonly lines: { level: string }[]
}

const setUp = async (): Promise<Setting> => {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(await temporaryFolder())
  const catalog = stack.use(await openThread(path.join(folder.path, 'catalog.db')))
  const packs = path.join(folder.path, 'packs')
  const store = stack.use(await DirectoryPackStore.open(packs))
  const log = memoryLog()
  const pool = new PackPool({ store, book: catalog.packs, log, nowMs: () => 1 })
  const tenant = await catalog.tenants.add({
    name: 'one',
    id: randomUUID(),
    idKey: new Uint8Array(32),
    chunkBytes: 4096,
    nowMs: 1,
  })
  const fileOf = ({ name: { pack } }: HeldPack): string => path.join(packs, tenant.id, pack.slice(0, 2), `${pack}.pack`)
  const rest = stack.move()
  return { pool, catalog, store, tenant, fileOf, lines: log.lines, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}

/** Appends and acknowledges, as a commit does. */
const commit = async ({ catalog, tenant }: Setting, held: HeldPack, bytes: number): Promise<void> => {
  await held.file.append(new Uint8Array(bytes))
  await held.file.sync()
  held.recorded = true
  await catalog.records.commit({
    tenant: tenant.id,
    machine: null,
    ids: new Uint8Array(0),
    records: [],
    packs: [{ id: held.id, bytes: held.file.bytes, sealed: false }],
    upload: null,
    progress: null,
  })
  held.acknowledgedBytes = held.file.bytes
}

test('two holders never have the same pack, and a pack given back is handed out again', async () => {
  await using setting = await setUp()
  const { pool, tenant } = setting
  const [one, two] = [await pool.acquire(tenant, 'data', 1), await pool.acquire(tenant, 'data', 1)]
  expect(one.id).not.toBe(two.id)
  await commit(setting, one, 100)
  await commit(setting, two, 50)
  await pool.release(one)
  await pool.release(two)
  // the fullest first; another kind never
  const nodes = await pool.acquire(tenant, 'nodes', 1)
  const again = await pool.acquire(tenant, 'data', 1)
  expect([again.id, again.file.bytes]).toEqual([one.id, PACK_HEADER_BYTES + 100])
  expect([one.id, two.id]).not.toContain(nodes.id)
  // no room for this in the one that is left: a new one
  const large = await pool.acquire(tenant, 'data', PACK_BYTES_MAX - PACK_HEADER_BYTES)
  expect(large.id).not.toBe(two.id)
  for (const held of [nodes, again, large]) await pool.release(held)
})

test('a pack in which nothing was ever recorded leaves nothing behind', async () => {
  await using setting = await setUp()
  const { pool, tenant, catalog, store } = setting
  const held = await pool.acquire(tenant, 'data', 1)
  await held.file.append(new Uint8Array(10))
  await pool.release(held)
  expect(await catalog.packs.list()).toEqual([])
  expect(await store.size(held.name)).toBe(null)
})

test('a pack with bytes that the catalog does not know is sealed and not handed out again', async () => {
  await using setting = await setUp()
  const { pool, tenant, catalog } = setting
  const held = await pool.acquire(tenant, 'data', 1)
  await commit(setting, held, 100)
  await held.file.append(new Uint8Array(7))
  await pool.release(held)
  expect(await catalog.packs.list()).toMatchObject([{ state: 'sealed', bytes: PACK_HEADER_BYTES + 107 }])
  const next = await pool.acquire(tenant, 'data', 1)
  expect(next.id).not.toBe(held.id)
  await pool.release(next)
})

test('a pack that someone changed while nobody had it is sealed, and said so', async () => {
  await using setting = await setUp()
  const { pool, tenant, catalog, fileOf, lines } = setting
  const held = await pool.acquire(tenant, 'data', 1)
  await commit(setting, held, 100)
  await pool.release(held)
  await appendFile(fileOf(held), 'x')
  const next = await pool.acquire(tenant, 'data', 1)
  expect(next.id).not.toBe(held.id)
  expect(lines).toMatchObject([{ level: 'error' }])
  expect((await catalog.packs.list()).map(({ state }) => state)).toEqual(['sealed', 'open'])
  await pool.release(next)
})
