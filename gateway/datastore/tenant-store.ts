// The datastore as one tenant has it: what is there, reading records and nodes, proofs, and writers for uploads.
import { CODEC, equalBytes, fromHex, hex } from '../../protocol/chunk.ts'
import { writeHeads } from '../../protocol/chunk-list.ts'
import { VarveError } from '../../protocol/errors.ts'
import { decodeNode, nodeKey, type TreeNode } from '../../protocol/image-tree.ts'
import { joinBytes, joinIds, ownBytes } from './bytes.ts'
import { freeBuffer } from '../../protocol/memory.ts'
import type { Database } from './database/database.ts'
import type { Tenant } from './database/tenants.ts'
import { RECORD, RECORD_PLAIN_BYTES_MAX, recordBytes, writeRecord } from './format.ts'
import type { ImageWriter, ImageWriterOptions } from './image-writer.ts'
import { keyedHash } from './keyed-hash.ts'
import type { DatastoreLog } from './log.ts'
import type { NodeCache } from './node-cache.ts'
import type { PackPool } from './pack-pool.ts'
import type { PackStore } from './pack-store.ts'
import { PackWriter } from './pack-writer.ts'
import { checkFetched, damagedRecord, type FetchedRecord, IDS_MAX, RecordReader } from './record-reader.ts'
import type { VerifyPool } from './verify-pool.ts'

/** Chunks as they are stored: their checksums were checked, their ids are for whoever decodes them to check. */
export interface StoredChunks {
  /** The table of their heads. */
  readonly heads: Uint8Array
  /** Their stored bytes one behind the other. */
  readonly stored: Uint8Array
}

interface TenantStoreOptions {
  readonly tenant: Tenant
  readonly database: Database
  readonly store: PackStore
  readonly packs: PackPool
  readonly verifyPool: VerifyPool
  readonly nodeCache: NodeCache
  readonly log: DatastoreLog
  readonly openWriter: (
    options: Pick<ImageWriterOptions, 'tenant' | 'job' | 'disk' | 'machineId'>,
  ) => Promise<ImageWriter>
}

/** Ids of damaged records that one line of the log names. */
const IDS_LOGGED_MAX = 16

/** The key of manifest ids: a domain of its own beside chunks and tree nodes. */
const manifestKey = (idKey: Uint8Array): Uint8Array =>
  keyedHash(idKey, new TextEncoder().encode('varve restore point manifest v1'))

export class TenantStore {
  readonly tenant: Tenant
  readonly #options: TenantStoreOptions
  readonly #reader: RecordReader
  readonly #nodeKey: Uint8Array

  constructor(options: TenantStoreOptions) {
    const { tenant, database, store } = options
    this.tenant = tenant
    this.#options = options
    this.#reader = new RecordReader({ tenant, database, store })
    this.#nodeKey = nodeKey(keyedHash, tenant.idKey)
  }

  /** One byte per id: 0 absent, 1 there and first added by another machine, 2 there and first added by this one. PARAMS_INVALID past IDS_MAX ids. */
  async have(ids: readonly Uint8Array[], machineId: number): Promise<Uint8Array> {
    if (ids.length > IDS_MAX) throw new VarveError('PARAMS_INVALID', `more than ${IDS_MAX} ids in one call`)
    const { database, tenant } = this.#options
    return database.call('chunk.have', { tenant: tenant.id, machine: machineId, ids: joinIds(ids) })
  }

  /** Plain bytes of one record of any type, checked against its id; DATA_DAMAGED names the id. */
  async readRecord(id: Uint8Array): Promise<{ plain: Uint8Array }> {
    const fetched = found((await this.#reader.fetch([id]))[0]!)
    const record = checkFetched(fetched)
    const { idKey } = this.tenant
    if (record.type === RECORD.chunk) {
      const place = { id: ownBytes(id), offset: fetched.offset }
      return { plain: await this.#options.verifyPool.plain({ buffer: fetched.bytes.buffer, place, idKey }) }
    }
    const key = record.type === RECORD.node ? this.#nodeKey : manifestKey(idKey)
    return { plain: checkPlain(key, id, record.stored) }
  }

  /**
   * Chunks as stored, in the order asked, neighbours fetched with one read; checksums checked.
   * DATA_DAMAGED names the first bad id; PARAMS_INVALID past IDS_MAX ids or READ_BYTES_MAX bytes.
   */
  async readStored(ids: readonly Uint8Array[]): Promise<StoredChunks> {
    const fetched = (await this.#reader.fetch(ids)).map(found)
    const records = fetched.map(checkFetched)
    const length = records.reduce((sum, { storedLength }) => sum + storedLength, 0)
    const heads = writeHeads(records)
    const stored = joinBytes(
      records.map((record) => record.stored),
      length,
    )
    for (const { bytes } of fetched) freeBuffer(bytes.buffer)
    return { heads, stored }
  }

  /** The tree node of this id; DATA_DAMAGED names it. */
  async node(id: Uint8Array): Promise<TreeNode> {
    return (await this.nodes([id]))[0]!
  }

  /** Tree nodes in the order asked, from the cache or read together; DATA_DAMAGED names the first bad id. */
  async nodes(ids: readonly Uint8Array[]): Promise<TreeNode[]> {
    const { nodeCache } = this.#options
    const nodes = ids.map((id) => nodeCache.get(this.tenant.id, id))
    const missing = ids.filter((_, index) => nodes[index] === undefined)
    const fetched = missing.length > 0 ? await this.#reader.fetch(missing) : []
    let next = 0
    return nodes.map((node, index) => node ?? this.#checkNode(ids[index]!, found(fetched[next++]!)))
  }

  /** Keyed BLAKE3 of each chunk's plain bytes under `proofKey`, or null where it is absent or damaged. */
  async prove(ids: readonly Uint8Array[], proofKey: Uint8Array): Promise<(Uint8Array | null)[]> {
    const proofs: (Uint8Array | null)[] = ids.map(() => null)
    const byBuffer = new Map<ArrayBuffer, { index: number; fetched: FetchedRecord }[]>()
    for (const [index, fetched] of (await this.#reader.fetch(ids)).entries()) {
      if (fetched instanceof VarveError || fetched.location.type !== RECORD.chunk) continue
      const { buffer } = fetched.bytes
      const group = byBuffer.get(buffer)
      if (group === undefined) byBuffer.set(buffer, [{ index, fetched }])
      else group.push({ index, fetched })
    }
    const groups = [...byBuffer].map(async ([buffer, group]) => {
      const places = group.map(({ fetched: { id, offset } }) => ({ id: ownBytes(id), offset }))
      const { idKey } = this.tenant
      const results = await this.#options.verifyPool.prove({ buffer, places, idKey, proofKey: ownBytes(proofKey) })
      for (const [at, { index }] of group.entries()) proofs[index] = results[at] ?? null
    })
    await Promise.all(groups)
    return proofs
  }

  /** Lets go of records that turned out to be damaged: they count as absent, and what is uploaded next in their place heals every image. */
  async forget(ids: readonly Uint8Array[]): Promise<void> {
    if (ids.length === 0) return
    const { database, tenant, log } = this.#options
    const named = ids.slice(0, IDS_LOGGED_MAX).map(hex)
    log.error({ tenant: tenant.uuid, count: ids.length, ids: named }, 'damaged records left the index')
    await database.call('chunk.forget', { tenant: tenant.id, ids: joinIds(ids) })
  }

  /** Lets go of the record that a DATA_DAMAGED names; any other error is left alone. */
  async quarantine({ code, details }: VarveError): Promise<void> {
    const { id } = details
    if (code === 'DATA_DAMAGED' && typeof id === 'string') await this.forget([fromHex(id)])
  }

  /** A writer for one disk of one upload, whose row in the catalog exists. TOO_MANY_REQUESTS past WRITERS_MAX. */
  openWriter(options: { job: string; disk: string; machineId: number }): Promise<ImageWriter> {
    return this.#options.openWriter({ tenant: this.tenant, ...options })
  }

  /**
   * Keeps a restore point's manifest in the packs, durable when it returns its id; to be called before the restore point's own
   * transaction, so that every restore point of the catalog can be found again from the packs alone. STORE_FULL, STORE_FAILED.
   */
  async writeManifest(bytes: Uint8Array): Promise<Uint8Array> {
    if (bytes.length === 0 || bytes.length > RECORD_PLAIN_BYTES_MAX)
      throw new VarveError('PARAMS_INVALID', `a manifest must have 1 to ${RECORD_PLAIN_BYTES_MAX} bytes`)
    const { tenant, database, packs: pool } = this.#options
    const id = keyedHash(manifestKey(tenant.idKey), bytes)
    const header = { id, type: RECORD.manifest, codec: CODEC.raw, plainLength: bytes.length }
    const record = Buffer.alloc(recordBytes(bytes.length))
    writeRecord(record, 0, header, bytes)
    await using writer = new PackWriter({ pool, tenant, kind: 'nodes' })
    const place = await writer.append(record)
    const checkpoint = writer.checkpoint()
    await writer.sync(checkpoint)
    await database.call('chunk.commit', {
      tenant: tenant.id,
      machine: null,
      ids: id,
      records: [{ ...header, storedLength: bytes.length, ...place }],
      packs: checkpoint.packs.map(({ held, bytes, sealed }) => ({ id: held.id, bytes, sealed })),
      upload: null,
      progress: null,
    })
    await writer.acknowledged(checkpoint)
    return id
  }

  #checkNode(id: Uint8Array, fetched: FetchedRecord): TreeNode {
    const record = checkFetched(fetched)
    if (record.type !== RECORD.node) throw damagedRecord(id, 'it is not a tree node')
    // a copy, so that a cached node does not hold the buffer of a whole read
    const bytes = ownBytes(checkPlain(this.#nodeKey, id, record.stored))
    const node = decodeNode(bytes)
    this.#options.nodeCache.set(this.tenant.id, ownBytes(id), node)
    return node
  }
}

const found = (fetched: FetchedRecord | VarveError): FetchedRecord => {
  if (fetched instanceof VarveError) throw fetched
  return fetched
}

const checkPlain = (key: Uint8Array, id: Uint8Array, plain: Uint8Array): Uint8Array => {
  if (!equalBytes(keyedHash(key, plain), id))
    throw new VarveError('DATA_DAMAGED', `record ${hex(id)} is damaged: its content has another id`, {
      details: { id: hex(id) },
    })
  return plain
}
