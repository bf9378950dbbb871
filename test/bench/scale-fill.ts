// Fills a catalog as years of backups would, through the datastore's own operations; a program, started by scale-index.ts.
//
// Usage: node scale-fill.ts chunks DATA TENANT COUNT | node scale-fill.ts points DATA TENANT MACHINE COUNT
// `chunks` makes a datastore that no gateway has open; `points` adds to a running gateway's. Prints one line of JSON.
import type { Tenant } from '../../gateway/catalog/tenants.ts'
import type { NewRecord } from '../../gateway/catalog/records.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import path from 'node:path'
import type { Catalog } from '../../gateway/catalog/catalog.ts'
import { makeNewest } from '../support/catalog-damage.ts'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME, Datastore } from '../../gateway/datastore/datastore.ts'
import { encodePackHeader, PACK_BYTES_MAX, RECORD } from '../../gateway/packs/format.ts'
import { CHUNK_BYTES_DEFAULT, chunkCount, CODEC, ID_BYTES, ID_KEY_BYTES } from '../../protocol/chunk.ts'
import { randomIntegers } from './random.ts'

/** Stored bytes of a chunk on average, in bytes: how many records share a pack. */
const STORED_BYTES = 25_000
const RECORDS_PER_PACK = Math.floor(PACK_BYTES_MAX / STORED_BYTES)

/** One record in so many is a tree node: a leaf node has as many chunks. */
const NODE_EVERY = 65

/**
 * The ids of one pass go up, which is many times faster than random order; several passes over the whole range split the
 * index's pages as random order does.
 */
const PASSES = 4
const BATCH = 50_000

/** Bytes of an id that follow from its place in its pass; the others are random. */
const PLACE_BYTES = 6

/** Time between two filled restore points, in milliseconds. */
const POINT_STEP_MS = 60 * 60 * 1000

const PACK_FOLDER = 'packs'

const addTenant = (catalog: Catalog, name: string): Promise<Tenant> => {
  const fresh = { name, id: randomUUID(), idKey: randomBytes(ID_KEY_BYTES), nowMs: Date.now() }
  return catalog.tenants.add({ ...fresh, chunkBytes: CHUNK_BYTES_DEFAULT })
}

/** Sealed packs with sparse files of the right length, as a start looks whether they are there. */
const addPacks = async (catalog: Catalog, data: string, tenant: Tenant, count: number): Promise<number[]> => {
  const rows: { id: number; bytes: number }[] = []
  while (rows.length < count) {
    const uuid = randomUUID()
    const kind = rows.length % NODE_EVERY === 0 ? 'nodes' : 'data'
    const id = await catalog.packs.add({ tenant: tenant.id, kind, uuid, nowMs: Date.now() })
    const folder = path.join(data, PACK_FOLDER, tenant.id, uuid.slice(0, 2))
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await using file = await open(path.join(folder, `${uuid}.pack`), 'wx', 0o600)
    await file.write(encodePackHeader({ kind, tenant: tenant.id, pack: uuid }))
    await file.truncate(PACK_BYTES_MAX)
    rows.push({ id, bytes: PACK_BYTES_MAX })
  }
  await catalog.packs.seal({ packs: rows })
  return rows.map(({ id }) => id)
}

const fillChunks = async (catalog: Catalog, tenant: Tenant, packs: readonly number[], count: number) => {
  const integer = randomIntegers(count)
  const perPass = Math.ceil(count / PASSES)
  const step = 2 ** (8 * PLACE_BYTES) / perPass
  for (let at = 0; at < count; at += BATCH) {
    const batch = Math.min(BATCH, count - at)
    const ids = randomBytes(batch * ID_BYTES)
    const records: NewRecord[] = []
    for (let index = 0; index < batch; index++) {
      const place = Math.floor((((at + index) % perPass) + Math.random()) * step)
      ids.writeUIntBE(place, index * ID_BYTES, PLACE_BYTES)
      records.push({
        pack: packs[integer(packs.length)]!,
        offset: integer(PACK_BYTES_MAX - CHUNK_BYTES_DEFAULT),
        storedLength: 1 + integer(2 * STORED_BYTES),
        plainLength: CHUNK_BYTES_DEFAULT,
        codec: CODEC.zstd,
        type: (at + index) % NODE_EVERY === 0 ? RECORD.node : RECORD.chunk,
        parts: 1,
        place: 0,
      })
    }
    const commit = { tenant: tenant.id, machine: null, ids, records, packs: [], upload: null, progress: null }
    await catalog.records.commit(commit)
    if (at % (20 * BATCH) === 0) process.stderr.write(`${at} of ${count} chunks\n`)
  }
}

const makeDatastore = async (data: string, tenantName: string, count: number): Promise<object> => {
  const quiet = (): void => {}
  await (await Datastore.open({ folder: data, log: { info: quiet, warn: quiet, error: quiet } }))[Symbol.asyncDispose]()
  using catalog = openLocal(path.join(data, CATALOG_NAME))
  const tenant = await addTenant(catalog, tenantName)
  const packs = await addPacks(catalog, data, tenant, Math.ceil(count / RECORDS_PER_PACK))
  const startMs = performance.now()
  await fillChunks(catalog, tenant, packs, count)
  return { chunks: count, packs: packs.length, seconds: (performance.now() - startMs) / 1000 }
}

/** Committed jobs with restore points before the machine's newest one, each with its images. */
const addPoints = async (data: string, tenantName: string, machine: string, count: number): Promise<object> => {
  using catalog = openLocal(path.join(data, CATALOG_NAME))
  const { id: tenant } = (await catalog.tenants.byName({ name: tenantName }))!
  const { agent } = await catalog.machines.get({ tenant, name: machine })
  const page = await catalog.points.list({ tenant, agent, machine, before: null, limit: 1 })
  const [last] = page.points
  if (last === undefined) throw new Error('the machine has no restore point yet')
  const newest = await catalog.points.show({ tenant, agent, prefix: last.id })
  const { configuration, consistency, note } = newest
  const state = new Uint8Array(0)
  for (let back = count; back > 0; back--) {
    const job = randomUUID()
    const timeMs = newest.timeMs - back * POINT_STEP_MS
    const wishes = { full: false, compare: false }
    await catalog.jobs.start({ id: job, tenant, machine, agent, subject: agent, ...wishes, nowMs: timeMs })
    const disks = newest.disks.map(({ name, size }) => ({
      name,
      size,
      kind: 'incremental' as const,
      reason: 'bitmap' as const,
      base: name,
      evidence: '',
      comparedChunks: 0,
    }))
    await catalog.jobs.begin({
      job,
      agent,
      begun: { timeMs, consistency, note, configuration, leftOut: [], checkpoint: true, missing: [] },
      disks,
      state,
      nowMs: timeMs,
    })
    for (const { name: disk, size, root } of newest.disks) {
      const position = chunkCount(size, CHUNK_BYTES_DEFAULT)
      const progress = { position, state, bytesSent: 0, changedBytes: 0, finished: true, root }
      const nothing = { tenant, machine, ids: state, records: [], packs: [] }
      await catalog.records.commit({ ...nothing, upload: { job, disk }, progress })
    }
    await catalog.jobs.commit({
      job,
      agent,
      bytesRead: 0,
      nowMs: timeMs,
      manifest: new Uint8Array(32),
      lockedUntilMs: null,
    })
  }
  // they lie before the newest one, whose checkpoint the next backup continues
  makeNewest(data, newest.id)
  return { points: count }
}

const main = async (): Promise<object> => {
  const [what, data = '', tenant = '', ...rest] = process.argv.slice(2)
  if (what === 'chunks') return makeDatastore(data, tenant, Number(rest[0]))
  if (what === 'points') return addPoints(data, tenant, rest[0] ?? '', Number(rest[1]))
  throw new Error('chunks or points is what can be filled')
}

process.umask(0o077)
console.log(JSON.stringify(await main()))
