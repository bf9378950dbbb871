// Reading through a tenant's store: every flipped bit in a pack is found and named, proofs, manifests, nodes and bounds.
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { BUNDLE_PARTS_MAX, hex } from '../../../protocol/chunk.ts'
import { splitIds } from '../../../protocol/host/bytes.ts'
import { armFailpoints } from '../../../gateway/common/failpoint.ts'
import type { Datastore } from '../../../gateway/datastore/datastore.ts'
import { PACK_HEADER_BYTES, parseRecord, RECORD, recordBytes } from '../../../gateway/packs/format.ts'
import { decodeManifest } from '../../../gateway/catalog/manifest.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { IDS_MAX } from '../../../gateway/packs/record-reader.ts'
import { decodeState, joinParts } from '../../../gateway/catalog/state-record.ts'
import type { TenantStore } from '../../../gateway/datastore/tenant-store.ts'
import { leaves } from '../../../gateway/trees/leaves.ts'
import { testDice } from '../../support/seed.ts'
import { joinChunks, splitChunks, wireBundle } from '../../protocol/wire-chunks.ts'
import { addAgent, addMachine } from '../catalog.ts'
import {
  CHUNK_BYTES,
  addTenant,
  addUpload,
  batchOf,
  chunkId,
  collect,
  newManifest,
  nodeOf,
  openDatastore,
  plainChunk,
  progressAt,
  temporaryFolder,
  treeOf,
} from './fixture.ts'

const CHUNKS = 20

interface Setting extends AsyncDisposable {
  readonly folder: string
  readonly datastore: Datastore
  readonly tenant: Tenant
  readonly store: TenantStore
  readonly plains: readonly Uint8Array[]
  readonly ids: readonly Uint8Array[]
  readonly root: Uint8Array
  /** The one data pack and the one nodes pack. */
  readonly files: { readonly data: string; readonly nodes: string }
}

/** A datastore with one committed image of CHUNKS chunks. */
const setUp = async (): Promise<Setting> => {
  const folder = await temporaryFolder()
  const datastore = await openDatastore(folder.path)
  const tenant = await addTenant(datastore, 'one')
  const store = datastore.tenantStore(tenant)
  const plains = Array.from({ length: CHUNKS }, plainChunk)
  const ids = plains.map((plain) => chunkId(tenant, plain))
  const { root, nodes } = treeOf(tenant, ids)
  {
    await using writer = await store.openWriter(await addUpload(folder.path, tenant))
    await writer.append(batchOf(tenant, plains))
    writer.addNodes(nodes)
    await writer.commit(progressAt(CHUNKS, { finished: true, root }))
  }
  const packs = await datastore.catalog.packs.list()
  const fileOf = (kind: string): string => {
    const { uuid } = packs.find((pack) => pack.kind === kind)!
    return path.join(folder.path, 'packs', tenant.id, uuid.slice(0, 2), `${uuid}.pack`)
  }
  return {
    folder: folder.path,
    datastore,
    tenant,
    store,
    plains,
    ids,
    root: root!,
    files: { data: fileOf('data'), nodes: fileOf('nodes') },
    [Symbol.asyncDispose]: async () => {
      await datastore[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const flip = async (file: string, offset: number, bit: number): Promise<void> => {
  const bytes = await readFile(file)
  bytes[offset]! ^= 1 << bit
  await writeFile(file, bytes)
}

const damaged = (id: Uint8Array) => ({ code: 'DATA_DAMAGED', details: { id: hex(id) } })

test('ids of zeroes are those of chunks of so many zeroes', async () => {
  await using setting = await setUp()
  const { store, tenant } = setting
  for (const length of [512, CHUNK_BYTES, 64 * 1024, 64 * 1024 + 512, 4 * 1024 * 1024])
    for (const _ of [1, 2]) expect(store.zeroId(length)).toEqual(chunkId(tenant, new Uint8Array(length)))
})

describe('damage', () => {
  test('a flipped bit anywhere in a record is found by every way of reading, and only that record is hurt', async () => {
    await using setting = await setUp()
    const { store, ids, plains, files, tenant } = setting
    const dice = testDice()
    const bytes = await readFile(files.data)
    const proofKey = new Uint8Array(32).fill(1)
    let alive = [...ids]
    let offset = PACK_HEADER_BYTES
    for (let record = 0; record < CHUNKS; record++) {
      const { parts, storedLength } = parseRecord(bytes, offset)
      const { id } = parts[0]!
      const index = alive.findIndex((one) => hex(one) === hex(id))
      const next = (index + 1) % alive.length
      const at = offset + [0, 4, 8, 9, 10, 12, 16, 48, 52, dice.below(recordBytes(storedLength))][record % 10]!
      await flip(files.data, at, dice.below(8))
      await expect(store.readRecord(id)).rejects.toMatchObject(damaged(id))
      await expect(store.readStored(alive)).rejects.toMatchObject(damaged(id))
      expect([...(await store.badRecords(alive)).keys()]).toEqual([index])
      const proofs = await store.prove(alive, proofKey)
      expect(proofs.map((proof, at) => (proof === null ? at : -1)).filter((at) => at >= 0)).toEqual([index])
      const plain = plains.find((one) => hex(chunkId(tenant, one)) === hex(alive[next]!))!
      expect(proofs[next]).toEqual(next === index ? null : keyedHash(proofKey, plain))
      // a failed proof lets the record go, also when its bytes come right again
      await writeFile(files.data, bytes)
      expect([...(await store.have([id], 'none'))]).toEqual([0])
      alive = alive.toSpliced(index, 1)
      offset += recordBytes(storedLength)
    }
    expect(alive).toEqual([])
  })

  test('a flipped bit in a node is found when the tree is walked', async () => {
    await using setting = await setUp()
    const { store, root, files } = setting
    await flip(files.nodes, PACK_HEADER_BYTES + 60, 3)
    await expect(nodeOf(store, root)).rejects.toMatchObject(damaged(root))
    await expect(collect(leaves(store.nodes.cached, root, CHUNKS))).rejects.toMatchObject(damaged(root))
  })

  test('of a pack that was cut short, what lies before the cut still reads', async () => {
    await using setting = await setUp()
    const { store, ids, files } = setting
    const bytes = await readFile(files.data)
    const first = parseRecord(bytes, PACK_HEADER_BYTES)
    await truncate(files.data, PACK_HEADER_BYTES + recordBytes(first.storedLength))
    await store.readRecord(first.parts[0]!.id)
    const proofs = await store.prove(ids, new Uint8Array(32))
    expect(proofs.filter((proof) => proof !== null)).toHaveLength(1)
    await expect(store.readStored(ids)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
  })

  test('a good record in the place of another is not taken for it', async () => {
    await using setting = await setUp()
    const { datastore, tenant, store, ids } = setting
    // the index of a datastore that was tampered with: two ids that name the same place
    await datastore.catalog.records.commit({
      tenant: tenant.id,
      machine: null,
      ids: new Uint8Array(32),
      records: [
        {
          pack: 1,
          offset: PACK_HEADER_BYTES,
          storedLength: 100,
          plainLength: 100,
          codec: 0,
          type: RECORD.chunk,
          parts: 1,
          place: 0,
        },
      ],
      packs: [],
      upload: null,
      progress: null,
    })
    await expect(store.readRecord(new Uint8Array(32))).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
    expect(await store.prove([new Uint8Array(32)], new Uint8Array(32))).toEqual([null])
    expect(splitChunks(await store.readStored(ids)).map(({ id }) => id)).toEqual(ids)
  })
})

/** The second chunk of each of so many bundles, none of which compresses. */
const oneOfMany = async (setting: Setting, bundles: number, parts: number): Promise<Uint8Array[]> => {
  const { folder, tenant, store } = setting
  const wanted: Uint8Array[] = []
  await using writer = await store.openWriter(await addUpload(folder, tenant))
  for (let bundle = 0; bundle < bundles; bundle++) {
    const plains = Array.from({ length: parts }, () => new Uint8Array(randomBytes(CHUNK_BYTES)))
    await writer.append(joinChunks([wireBundle(plains.map((plain) => [chunkId(tenant, plain), plain] as const))]))
    wanted.push(plains[1]!)
  }
  await writer.commit(progressAt(1))
  return wanted
}

describe('reading', () => {
  test('of chunks that lie beside many others, any number is proved and looked at', async () => {
    await using setting = await setUp()
    const { store, tenant } = setting
    // more bytes than one read may have
    const plains = await oneOfMany(setting, 260, BUNDLE_PARTS_MAX)
    const ids = plains.map((plain) => chunkId(tenant, plain))
    const proofKey = new Uint8Array(32).fill(1)
    expect(await store.prove(ids, proofKey)).toEqual(plains.map((plain) => keyedHash(proofKey, plain)))
    expect(await store.badRecords(ids)).toEqual(new Map())
  })

  test('as many reads as one likes leave room on the record threads for uploads', async () => {
    await using setting = await setUp()
    const { store, tenant, folder } = setting
    const [plain] = await oneOfMany(setting, 1, 32)
    const ids = [chunkId(tenant, plain!)]
    const reads = Promise.all(Array.from({ length: 2000 }, () => store.readStored(ids)))
    reads.catch(() => {})
    await using writer = await store.openWriter(await addUpload(folder, tenant, 'vdb'))
    await writer.append(batchOf(tenant, [plainChunk()]))
    for (const read of await reads) expect(splitChunks(read).map(({ id }) => id)).toEqual(ids)
  })

  test('an absent id is damage that names it; no ids are no work', async () => {
    await using setting = await setUp()
    const { store } = setting
    const id = new Uint8Array(32).fill(9)
    await expect(store.readRecord(id)).rejects.toMatchObject(damaged(id))
    await expect(store.readStored([id])).rejects.toMatchObject(damaged(id))
    await expect(nodeOf(store, id)).rejects.toMatchObject(damaged(id))
    expect(splitChunks(await store.readStored([]))).toEqual([])
    expect(await store.nodes.cached([], 0)).toEqual([])
    expect((await store.have([], 'none')).length).toBe(0)
  })

  test('a chunk is no node, and a node is no chunk', async () => {
    await using setting = await setUp()
    const { store, ids, root } = setting
    await expect(nodeOf(store, ids[0]!)).rejects.toMatchObject(damaged(ids[0]!))
    expect(await store.prove([root], new Uint8Array(32))).toEqual([null])
    expect((await store.readRecord(root)).plain.length).toBe(1 + 8 + CHUNKS * 32)
  })

  test('the walk over a stored tree gives the ids it was built from', async () => {
    await using setting = await setUp()
    const runs = await collect(leaves(setting.store.nodes.cached, setting.root, CHUNKS))
    expect(runs.flatMap(({ ids }) => ids?.map((id) => hex(id)) ?? [])).toEqual(setting.ids.map((id) => hex(id)))
  })

  test('the same id twice in one call is answered twice', async () => {
    await using setting = await setUp()
    const { store, ids } = setting
    const [first, second] = splitChunks(await store.readStored([ids[3]!, ids[3]!]))
    expect(first!.stored).toEqual(second!.stored)
    const [one, two] = await store.prove([ids[3]!, ids[3]!], new Uint8Array(32))
    expect([one === null, one]).toEqual([false, two])
  })

  test('too many ids are refused', async () => {
    await using setting = await setUp()
    const many = Array<Uint8Array>(IDS_MAX + 1).fill(setting.ids[0]!)
    for (const call of [
      setting.store.readStored(many),
      setting.store.prove(many, new Uint8Array(32)),
      setting.store.have(many, 'none'),
    ])
      await expect(call).rejects.toMatchObject({ code: 'PARAMS_INVALID' })
  })
})

describe('manifests', () => {
  test('are durable records in a nodes pack, found again by id and by reading the pack alone', async () => {
    await using setting = await setUp()
    const { store, datastore, folder, files, tenant } = setting
    const manifest = newManifest({ note: 'ü' })
    const { id } = await store.writeManifest(manifest)
    const { plain } = await store.readRecord(id)
    expect(decodeManifest(plain)).toEqual({ version: 1, tenant: tenant.id, state: 1, ...manifest })
    expect((await store.writeManifest(manifest)).id).toEqual(id)
    expect([...(await store.have([id], 'none'))]).toEqual([0])
    const bytes = await readFile(files.nodes)
    const types: number[] = []
    for (let offset = PACK_HEADER_BYTES; offset < bytes.length;) {
      const { type, storedLength } = parseRecord(bytes, offset)
      types.push(type)
      offset += recordBytes(storedLength)
    }
    expect(types[0]).toBe(RECORD.node)
    expect(types.at(-1)).toBe(RECORD.manifest)
    await datastore[Symbol.asyncDispose]()
    await using again = await openDatastore(folder)
    expect(again.report).toMatchObject({ damaged: [], sealed: 0 })
    expect((await again.tenantStore(tenant).readRecord(id)).plain).toEqual(plain)
    expect(await again.catalog.packs.list()).toHaveLength(2)
  })

  test('a huge one is refused', async () => {
    await using setting = await setUp()
    const manifest = newManifest({ configuration: 'x'.repeat(4 * 1024 * 1024) })
    await expect(setting.store.writeManifest(manifest)).rejects.toMatchObject({ code: 'PARAMS_INVALID' })
  })
})

describe('states', () => {
  /** The newest state as the catalog names it, read from the packs. */
  const newest = async ({
    store,
    datastore: { catalog },
    tenant: { id: tenant },
  }: Awaited<ReturnType<typeof setUp>>) => {
    const parts = splitIds(await catalog.states.records({ tenant }))
    const seq = await catalog.states.seq({ tenant })
    const due = (await catalog.states.changed()).includes(tenant)
    const read = await Promise.all(parts.map(async (id) => decodeState((await store.readRecord(id)).plain, id)))
    return { seq, due, state: read.length === 0 ? null : joinParts(read).state }
  }

  test('are written after a change and not again, and a later manifest names the last one', async () => {
    await using setting = await setUp()
    const { store, datastore, tenant } = setting
    expect((await newest(setting)).state).toBe(null)
    await Promise.all([store.writeState(), store.writeState(), store.writeState()])
    const first = await newest(setting)
    expect(first).toMatchObject({ seq: 1, due: false })
    expect(first.state).toMatchObject({
      seq: 1,
      tenant: {
        row: 1,
        uuid: tenant.id,
        name: tenant.name,
        idKey: hex(tenant.idKey),
        chunkBytes: CHUNK_BYTES,
      },
      points: [],
    })
    const agent = await addAgent(datastore.catalog, tenant)
    await addMachine(datastore.catalog, tenant, agent, 'm1')
    const { id } = await store.writeManifest(newManifest())
    expect(decodeManifest((await store.readRecord(id)).plain).state).toBe(2)
    const second = await newest(setting)
    expect(second.state!.agents.map((one) => one.id)).toContain(agent)
    expect(second.state!.machines).toContainEqual(expect.objectContaining({ name: 'm1', agent, group: null }))
    await store.writeManifest(newManifest())
    expect((await newest(setting)).seq).toBe(2)
  })

  test('those who come while one is being written share the next, however much changes meanwhile', async () => {
    await using setting = await setUp()
    const { store, datastore, tenant } = setting
    let changes = 0
    using _ = armFailpoints((name) => {
      if (name === 'state.write') void datastore.catalog.quotas.set({ tenant: tenant.id, softBytes: ++changes })
    })
    const first = store.writeState()
    await datastore.catalog.states.seq({ tenant: tenant.id })
    await Promise.all([first, ...Array.from({ length: 20 }, () => store.writeState())])
    const { seq, state } = await newest(setting)
    expect([seq, changes]).toEqual([2, 2])
    expect(state!.tenant.quotaSoftBytes).toBe(1)
  })

  test('those who share one that fails are all told, and the next is tried again', async () => {
    await using setting = await setUp()
    const { store } = setting
    {
      using _ = armFailpoints((name) => {
        if (name === 'state.write') throw Object.assign(new Error('full'), { code: 'ENOSPC' })
      })
      const results = await Promise.allSettled([store.writeState(), store.writeState()])
      expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    }
    await store.writeState()
    expect((await newest(setting)).due).toBe(false)
  })

  test('a change while one is being written is written again', async () => {
    await using setting = await setUp()
    const { store, datastore, tenant } = setting
    const written = store.writeState()
    await datastore.catalog.states.seq({ tenant: tenant.id })
    const agent = await addAgent(datastore.catalog, tenant)
    await written
    await store.writeState()
    const { due, state } = await newest(setting)
    expect(due).toBe(false)
    expect(state!.agents.map((one) => one.id)).toContain(agent)
  })
})
