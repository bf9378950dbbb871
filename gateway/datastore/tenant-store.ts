// The datastore as one tenant has it: what is there, reading records and nodes, proofs, and writers for uploads.
import type { Tenant } from '../catalog/tenants.ts'
import { SECTOR_BYTES } from '../catalog/reads.ts'
import { equalBytes } from '../../protocol/chunk.ts'
import { plainLengthOf } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { nodeKey } from '../../protocol/image-tree.ts'
import { joinIds, ownBytes } from '../../protocol/host/bytes.ts'
import { Limiter } from '../../protocol/host/limiter.ts'
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
import { Arrivals } from './arrivals.ts'
import { Quarantine } from './quarantine.ts'
import { joinStored, storedChunks, type StoredChunks } from './stored-chunks.ts'
import type { References } from '../coordination/coordination.ts'
import { stateKey } from '../catalog/state-record.ts'
import { TenantPacks } from './tenant-packs.ts'
import { TenantRecords, type KeptManifest } from './tenant-records.ts'
import {
  checkFetched,
  damagedRecord,
  type FetchedRecord,
  IDS_MAX,
  RecordParser,
  RecordReader,
} from '../packs/record-reader.ts'
import { decode } from '../../protocol/host/chunk-steps.ts'
import type { RecordPool } from '../packs/record-pool.ts'
import type { Repacked } from '../packs/record-work.ts'

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
    options: Pick<UploadWriterOptions, 'tenant' | 'job' | 'disk' | 'machine' | 'references' | 'arrivals'>,
  ) => Promise<UploadWriter>
}

/** Reads of one tenant that the record threads have at once; the callers' memory bounds those that wait. */
const WORK_AT_ONCE = 8

/** What ids of zero chunks are made of. */
const ZEROES = new Uint8Array(64 * 1024)

export class TenantStore {
  readonly tenant: Tenant
  readonly references: References
  /** Of what uploads bring. */
  readonly arrivals = new Arrivals()
  readonly quarantine: Quarantine
  readonly packs: TenantPacks
  readonly nodes: NodeReader
  readonly #options: TenantStoreOptions
  readonly #reader: RecordReader
  readonly #nodeKey: Uint8Array
  readonly #records: TenantRecords
  /** Of reads on the record threads, whose queue is that of all tenants' uploads. */
  readonly #work = new Limiter({ weightMax: WORK_AT_ONCE, waitingMax: Number.POSITIVE_INFINITY })
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
    return {
      plain: checkPlain(key, { id, location }, decode(record.codec, record.stored, plainLengthOf(record.parts))),
    }
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
   * These chunks and no others, in the order asked, neighbours fetched with one read; see storedChunks. DATA_DAMAGED names the
   * first bad id, and those that were read with it are quarantined, as a bundle is hurt as a whole; PARAMS_INVALID past IDS_MAX
   * ids.
   */
  async readStored(ids: readonly Uint8Array[]): Promise<StoredChunks> {
    const all: StoredChunks[] = []
    for await (const slice of this.#reader.slices(ids)) {
      try {
        const fetched = slice.map(found)
        all.push(await storedChunks(fetched, this))
      } catch (thrown) {
        const damages = [...badOf(slice).values()].map((error) => damageOf(error)).filter((damage) => damage !== null)
        await this.quarantine.enter(damages)
        throw thrown
      }
      free(slice)
    }
    return joinStored(all)
  }

  /** Records anew without some of their parts, each in a buffer of its own; see RecordPool.repack. DATA_DAMAGED. */
  repack(records: Parameters<RecordPool['repack']>[0]['records']): Promise<Repacked> {
    return this.#work.run(1, () => this.#options.recordPool.repack({ records }))
  }

  /** What is wrong with those of these records that cannot be read, by index; checksums checked. PARAMS_INVALID as above. */
  async badRecords(ids: readonly Uint8Array[]): Promise<Map<number, VarveError>> {
    const bad = new Map<number, VarveError>()
    let from = 0
    for await (const slice of this.#reader.slices(ids)) {
      for (const [index, error] of badOf(slice)) bad.set(from + index, error)
      from += slice.length
      free(slice)
    }
    return bad
  }

  /**
   * Keyed BLAKE3 of each chunk's plain bytes under `proofKey`, or null where it is absent, or was found damaged and removed from
   * the index.
   */
  async prove(ids: readonly Uint8Array[], proofKey: Uint8Array): Promise<(Uint8Array | null)[]> {
    const proofs: (Uint8Array | null)[] = []
    for await (const slice of this.#reader.slices(ids)) proofs.push(...(await this.#prove(slice, proofKey)))
    return proofs
  }

  async #prove(slice: readonly (FetchedRecord | VarveError)[], proofKey: Uint8Array): Promise<(Uint8Array | null)[]> {
    const proofs: (Uint8Array | null)[] = slice.map(() => null)
    const byBuffer = new Map<ArrayBuffer, { index: number; fetched: FetchedRecord }[]>()
    const damages: Damage[] = []
    for (const [index, fetched] of slice.entries()) {
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
      const job = { buffer, places, idKey, proofKey: ownBytes(proofKey) }
      const results = await this.#work.run(1, () => this.#options.recordPool.prove(job))
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
    const { tenant, references, arrivals } = this
    return this.#options.openWriter({ tenant, references, arrivals, ...options })
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

/** What is wrong with those that cannot be read, by index. */
const badOf = (slice: readonly (FetchedRecord | VarveError)[]): Map<number, VarveError> => {
  const bad = new Map<number, VarveError>()
  const parser = new RecordParser()
  for (const [index, fetched] of slice.entries()) {
    try {
      checkFetched(found(fetched), parser)
    } catch (thrown) {
      bad.set(index, asVarveError(thrown))
    }
  }
  return bad
}

const free = (slice: readonly (FetchedRecord | VarveError)[]): void => {
  for (const one of slice) if (!(one instanceof VarveError)) freeBuffer(one.bytes.buffer)
}

const checkPlain = (
  key: Uint8Array,
  { id, location }: { id: Uint8Array; location: RecordLocation },
  plain: Uint8Array,
): Uint8Array => {
  if (!equalBytes(keyedHash(key, plain), id)) throw damagedRecord(id, 'its content has another id', { location })
  return plain
}
