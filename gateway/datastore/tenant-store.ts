// The datastore as one tenant has it: what is there, reading records and nodes, proofs, and writers for uploads.
import type { Tenant } from '../catalog/tenants.ts'
import { SECTOR_BYTES } from '../catalog/reads.ts'
import { equalBytes } from '../../protocol/chunk.ts'
import { writeHeads } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { nodeKey } from '../../protocol/image-tree.ts'
import { joinBytes, joinIds, ownBytes } from '../../protocol/host/bytes.ts'
import { freeBuffer } from '../../protocol/memory.ts'
import { damageOf, type Damage } from '../packs/damage.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { RECORD, type RecordLocation } from '../packs/format.ts'
import type { UploadWriter, UploadWriterOptions } from './upload-writer.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import type { DatastoreLog } from '../common/log.ts'
import { manifestKey, type ManifestContent } from '../catalog/manifest.ts'
import type { NodeCache } from '../trees/node-cache.ts'
import { NodeReader } from '../trees/node-reader.ts'
import type { PackPool } from '../packs/pack-pool.ts'
import type { Packs, PackBallast } from '../packs/pack-store.ts'
import { Quarantine } from './quarantine.ts'
import type { References } from '../coordination/coordination.ts'
import { stateKey } from '../catalog/state-record.ts'
import { TenantPacks } from './tenant-packs.ts'
import { TenantRecords, type KeptManifest } from './tenant-records.ts'
import { checkFetched, damagedRecord, type FetchedRecord, IDS_MAX, RecordReader } from '../packs/record-reader.ts'
import { decode } from '../../protocol/host/chunk-steps.ts'
import type { RecordPool } from '../packs/record-pool.ts'

/** Chunks as they are stored: their checksums were checked, their ids are left to the reader that decodes them. */
export interface StoredChunks {
  /** The table of their heads. */
  readonly heads: Uint8Array
  /** Their stored bytes one behind the other. */
  readonly stored: Uint8Array
}

interface TenantStoreOptions {
  readonly tenant: Tenant
  readonly catalog: Catalog
  readonly store: Packs
  readonly packs: PackPool
  readonly references: References
  readonly ballast: PackBallast
  readonly recordPool: RecordPool
  readonly nodeCache: NodeCache
  readonly log: DatastoreLog
  readonly nowMs: () => number
  /** See Quarantine. */
  readonly onDamage: () => Promise<void>
  readonly openWriter: (
    options: Pick<UploadWriterOptions, 'tenant' | 'job' | 'disk' | 'machine' | 'references'>,
  ) => Promise<UploadWriter>
}

/** What ids of zero chunks are made of. */
const ZEROES = new Uint8Array(64 * 1024)

export class TenantStore {
  readonly tenant: Tenant
  readonly references: References
  readonly quarantine: Quarantine
  readonly packs: TenantPacks
  readonly nodes: NodeReader
  readonly #options: TenantStoreOptions
  readonly #reader: RecordReader
  readonly #nodeKey: Uint8Array
  readonly #records: TenantRecords
  /** By length: whole chunks share one, and the last ones of disks are whole sectors. */
  readonly #zeroIds = new Map<number, Uint8Array>()

  constructor(options: TenantStoreOptions) {
    const { tenant, catalog, store } = options
    this.tenant = tenant
    this.references = options.references
    this.#options = options
    this.#reader = new RecordReader({ tenant, index: catalog.records, store })
    this.packs = new TenantPacks({ tenant, catalog, store, pool: options.packs, ballast: options.ballast })
    this.#nodeKey = nodeKey(keyedHash, tenant.idKey)
    this.nodes = new NodeReader({ tenant, records: this.#reader, cache: options.nodeCache })
    const { packs: pool, ballast, nowMs } = options
    this.#records = new TenantRecords({ tenant, catalog, pool, ballast, references: this.references, nowMs })
    this.quarantine = new Quarantine(options)
  }

  /**
   * One byte per id: 0 absent, 1 there and first added by another machine, 2 there and first added by this one, 3 there with
   * another plain length than the one given. PARAMS_INVALID past IDS_MAX ids.
   */
  async have(ids: readonly Uint8Array[], machine: string, lengths?: readonly number[]): Promise<Uint8Array> {
    if (ids.length > IDS_MAX) throw new VarveError('PARAMS_INVALID', `at most ${IDS_MAX} ids are allowed in one call`)
    const { catalog, tenant } = this.#options
    await this.references.touch(ids)
    return catalog.records.have({ tenant: tenant.id, machine, ids: joinIds(ids), lengths })
  }

  /** Id of a chunk of so many zero bytes; no image has it, as zeroes are no chunk. */
  zeroId(length: number): Uint8Array {
    const known = this.#zeroIds.get(length)
    if (known !== undefined) return known
    const pieces = Array.from({ length: Math.ceil(length / ZEROES.length) }, (_, index) =>
      ZEROES.subarray(0, Math.min(ZEROES.length, length - index * ZEROES.length)),
    )
    const id = keyedHash(this.tenant.idKey, ...pieces)
    // attachments end anywhere
    if (length % SECTOR_BYTES === 0) this.#zeroIds.set(length, id)
    return id
  }

  /** Plain bytes of one record of any type, checked against its id; DATA_DAMAGED names the id. */
  async readRecord(id: Uint8Array): Promise<{ plain: Uint8Array }> {
    const fetched = found((await this.#reader.fetch([id]))[0]!)
    const record = checkFetched(fetched)
    const { location } = fetched
    const { idKey } = this.tenant
    if (record.type === RECORD.chunk) {
      const place = { id: ownBytes(id), offset: fetched.offset }
      try {
        return { plain: await this.#options.recordPool.plain({ buffer: fetched.bytes.buffer, place, idKey }) }
      } catch (thrown) {
        const error = asVarveError(thrown)
        throw error.code === 'DATA_DAMAGED' ? damagedRecord(id, error.message, { location, cause: error }) : error
      }
    }
    if (record.type === RECORD.node) return { plain: checkPlain(this.#nodeKey, { id, location }, record.stored) }
    const key = record.type === RECORD.state ? stateKey(idKey) : manifestKey(idKey)
    return { plain: checkPlain(key, { id, location }, decode(record.codec, record.stored, record.plainLength)) }
  }

  /** Where each record is, or null where the index has none; PARAMS_INVALID past IDS_MAX ids. */
  async locate(ids: readonly Uint8Array[]): Promise<(RecordLocation | null)[]> {
    if (ids.length > IDS_MAX) throw new VarveError('PARAMS_INVALID', `at most ${IDS_MAX} ids are allowed in one call`)
    return this.#options.catalog.records.locate({ tenant: this.tenant.id, ids: joinIds(ids) })
  }

  /** Records as they lie in packs, unchecked, in the order asked; see RecordReader.fetch. */
  fetch(ids: readonly Uint8Array[]): Promise<(FetchedRecord | VarveError)[]> {
    return this.#reader.fetch(ids)
  }

  /**
   * Chunks as stored, in the order asked, neighbours fetched with one read; checksums checked. DATA_DAMAGED names the first bad
   * id; PARAMS_INVALID past IDS_MAX ids or READ_BYTES_MAX bytes.
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

  /** What is wrong with those of these records that cannot be read, by index; checksums checked. PARAMS_INVALID as above. */
  async badRecords(ids: readonly Uint8Array[]): Promise<Map<number, VarveError>> {
    const bad = new Map<number, VarveError>()
    for (const [index, fetched] of (await this.#reader.fetch(ids)).entries()) {
      try {
        checkFetched(found(fetched))
      } catch (thrown) {
        bad.set(index, asVarveError(thrown))
      }
    }
    return bad
  }

  /**
   * Keyed BLAKE3 of each chunk's plain bytes under `proofKey`, or null where it is absent, or was found damaged and removed from
   * the index.
   */
  async prove(ids: readonly Uint8Array[], proofKey: Uint8Array): Promise<(Uint8Array | null)[]> {
    const proofs: (Uint8Array | null)[] = ids.map(() => null)
    const byBuffer = new Map<ArrayBuffer, { index: number; fetched: FetchedRecord }[]>()
    const damages: Damage[] = []
    for (const [index, fetched] of (await this.#reader.fetch(ids)).entries()) {
      if (fetched instanceof VarveError) {
        const damage = damageOf(fetched)
        if (damage !== null) damages.push(damage)
        continue
      }
      if (fetched.location.type !== RECORD.chunk) continue
      const { buffer } = fetched.bytes
      const group = byBuffer.get(buffer)
      if (group === undefined) byBuffer.set(buffer, [{ index, fetched }])
      else group.push({ index, fetched })
    }
    const groups = [...byBuffer].map(async ([buffer, group]) => {
      const places = group.map(({ fetched: { id, offset } }) => ({ id: ownBytes(id), offset }))
      const { idKey } = this.tenant
      const results = await this.#options.recordPool.prove({ buffer, places, idKey, proofKey: ownBytes(proofKey) })
      for (const [at, { index, fetched }] of group.entries()) {
        const proof = results[at] ?? null
        proofs[index] = proof
        if (proof !== null) continue
        const { id, location } = fetched
        damages.push({
          id: ownBytes(id),
          type: location.type,
          place: location,
          reason: 'its content is not what it was',
        })
      }
    })
    await Promise.all(groups)
    // an absent record is already out of the index
    await this.quarantine.enter(damages.filter(({ place }) => place !== null))
    return proofs
  }

  /** A writer for one disk of one upload, whose row in the catalog exists. TOO_MANY_REQUESTS past WRITERS_MAX. */
  openWriter(options: { job: string; disk: string; machine: string }): Promise<UploadWriter> {
    return this.#options.openWriter({ tenant: this.tenant, references: this.references, ...options })
  }

  /**
   * Keeps a restore point's manifest in the packs, durable when it returns; to be called before the restore point's own
   * transaction, so that every restore point of the catalog can be found again from the packs alone, and disposed of after it.
   * STORE_FULL, STORE_FAILED.
   */
  writeManifest(content: ManifestContent): Promise<KeptManifest> {
    return this.#records.writeManifest(content)
  }

  /**
   * Writes the tenant's state to the packs where it changed since it was last written; durable when it returns. STORE_FULL,
   * STORE_FAILED.
   */
  writeState(): Promise<void> {
    return this.#records.writeState()
  }
}

const found = <T>(one: T | VarveError): T => {
  if (one instanceof VarveError) throw one
  return one
}

const checkPlain = (
  key: Uint8Array,
  { id, location }: { id: Uint8Array; location: RecordLocation },
  plain: Uint8Array,
): Uint8Array => {
  if (!equalBytes(keyedHash(key, plain), id)) throw damagedRecord(id, 'its content has another id', { location })
  return plain
}
