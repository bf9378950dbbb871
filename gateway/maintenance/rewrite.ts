// Copies the live records of packs into new ones, in their order, and points the index there once the copies are synced.
import type { Move, PackedRow } from '../catalog/collection.ts'
import { equalBytes } from '../../protocol/chunk.ts'
import { asVarveError } from '../../protocol/errors.ts'
import type { Damage } from '../packs/damage.ts'
import type { Throttle } from '../../protocol/host/throttle.ts'
import { joinBytes, joinIds } from '../../protocol/host/bytes.ts'
import { failpoint } from '../common/failpoint.ts'
import type { PackKind } from '../packs/format.ts'
import type { RecordHead } from '../packs/pack-skim.ts'
import type { PackWriter } from '../packs/pack-writer.ts'
import type { SurveyedPack } from './collection-plan.ts'
import type { MaintenanceContext } from './context.ts'
import type { PackProof } from './pack-proof.ts'
import { copiesOf, type LeftRecord, type NeededRecord } from './trim.ts'

/** Parts of records, and bytes, that are looked up and copied at once. */
const BATCH_PARTS = 1024
const BATCH_BYTES = 4 * 1024 * 1024

/** Rows that one transaction moves: uploads' transactions wait behind it. */
const MOVES_AT_ONCE = 4096

interface MovedRecord {
  readonly id: Uint8Array
  readonly move: Move
}

export class PackRewriter implements AsyncDisposable {
  readonly #context: MaintenanceContext
  readonly #throttle: Throttle
  readonly #proof: PackProof
  readonly #writers = new Map<PackKind, PackWriter>()
  #bytes = 0

  constructor(context: MaintenanceContext, throttle: Throttle, proof: PackProof) {
    this.#context = context
    this.#throttle = throttle
    this.#proof = proof
  }

  /** Bytes copied so far. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * True when nothing in the index names the pack any more; false where records in it could not be read: those are quarantined.
   * STORE_FULL, STORE_FAILED.
   */
  async rewrite(pack: SurveyedPack): Promise<boolean> {
    const { datastore, tenant, signal } = this.#context
    const { packs } = datastore.tenantStore(tenant)
    let batch: LeftRecord[] = []
    let batchParts = 0
    let batchBytes = 0
    const moves: MovedRecord[] = []
    const flush = async (): Promise<void> => {
      // records that the index lacks, or has elsewhere as a bad copy, are now named here and move as well
      await this.#proof.look(pack.uuid, batch.flatMap(headsOf))
      moves.push(...(await this.#copy(pack, await this.#needed(pack.id, batch))))
      batch = []
      batchParts = 0
      batchBytes = 0
    }
    const onRead = (bytes: number): Promise<void> => this.#throttle.take(bytes, signal)
    // a pack that is gone has nothing to copy
    const there = (await packs.size(pack.uuid)) !== null
    for await (const piece of there ? packs.scan(pack.uuid, { signal, onRead }) : []) {
      if (!('header' in piece)) continue
      // the scan's bytes are valid only until its next step
      batch.push({ ...piece, bytes: Uint8Array.from(piece.bytes) })
      batchParts += piece.header.parts.length
      batchBytes += piece.bytes.length
      if (batchParts >= BATCH_PARTS || batchBytes >= BATCH_BYTES) await flush()
    }
    await flush()
    return (await this.#move(pack, moves)) === pack.rows || this.#rest(pack)
  }

  /** Releases the written packs; after a failure, before the next pack. */
  async letGo(): Promise<void> {
    const writers = [...this.#writers.values()]
    this.#writers.clear()
    for (const writer of writers) await writer[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.letGo()
  }

  #writer(kind: PackKind): PackWriter {
    const { datastore, tenant } = this.#context
    const writer = this.#writers.get(kind) ?? datastore.tenantStore(tenant).packs.writer(kind)
    this.#writers.set(kind, writer)
    return writer
  }

  /** Appends what is needed of the records to the writer's pack, one behind the other. */
  async #copy({ kind }: SurveyedPack, needed: readonly NeededRecord[]): Promise<MovedRecord[]> {
    if (needed.length === 0) return []
    const { datastore, tenant } = this.#context
    const copies = await copiesOf(datastore.tenantStore(tenant), needed)
    const length = copies.reduce((sum, { bytes }) => sum + bytes.length, 0)
    failpoint('rewrite.copy')
    const place = await this.#writer(kind).append(
      joinBytes(
        copies.map(({ bytes }) => bytes),
        length,
      ),
    )
    this.#bytes += length
    let { offset } = place
    return copies.flatMap(({ header: { codec, storedLength, parts }, bytes, fromOffset }) => {
      const to = { fromOffset, pack: place.pack, offset, codec, storedLength, parts: parts.length }
      offset += bytes.length
      return parts.map(({ id }, at) => ({ id, move: { ...to, place: at } }))
    })
  }

  /** Syncs the copies and points the index at them; the number of rows that moved. */
  async #move({ id: pack, kind }: SurveyedPack, moves: readonly MovedRecord[]): Promise<number> {
    const { datastore, tenant } = this.#context
    const writer = this.#writer(kind)
    const checkpoint = writer.checkpoint()
    await writer.sync(checkpoint)
    const packs = checkpoint.packs.map(({ held, bytes, sealed }) => ({ id: held.id, bytes, sealed }))
    let moved = 0
    for (let from = 0; from < moves.length; from += MOVES_AT_ONCE) {
      const some = moves.slice(from, from + MOVES_AT_ONCE)
      failpoint('rewrite.move')
      moved += await datastore.catalog.collection.move({
        tenant: tenant.id,
        pack,
        ids: joinIds(some.map(({ id }) => id)),
        moves: some.map(({ move }) => move),
        packs,
      })
    }
    await writer.acknowledged(checkpoint)
    return moved
  }

  /** Those of which the index names parts at just this place. */
  async #needed(pack: number, records: readonly LeftRecord[]): Promise<NeededRecord[]> {
    if (records.length === 0) return []
    const { datastore, tenant } = this.#context
    const heads = records.flatMap(headsOf)
    const named = await datastore.catalog.collection.named({
      tenant: tenant.id,
      pack,
      ids: joinIds(heads.map(({ id }) => id)),
      offsets: heads.map(({ offset }) => offset),
    })
    let from = 0
    return records.flatMap((record) => {
      const of = named.subarray(from, (from += record.header.parts.length))
      const places = [...of.keys()].filter((place) => of[place] === 1)
      return places.length === 0 ? [] : [{ ...record, places }]
    })
  }

  /**
   * Reads records that the scan missed at the places that the index has: whole ones move as well, others are quarantined, and the
   * pack stays until the next collection.
   */
  async #rest(pack: SurveyedPack): Promise<boolean> {
    const { datastore, tenant, log } = this.#context
    const store = datastore.tenantStore(tenant)
    const rows = await datastore.catalog.collection.rowsOf({ tenant: tenant.id, pack: pack.id })
    const moves: MovedRecord[] = []
    const damages: Damage[] = []
    for (const [offset, of] of Map.groupBy(rows, (row) => row.offset)) {
      const lose = (lost: readonly PackedRow[], reason: string): void => {
        for (const { id, type } of lost) damages.push({ id, type, place: { pack: pack.uuid, offset }, reason })
      }
      try {
        const { bytes, ...header } = await store.packs.record(pack.uuid, offset)
        const placeOf = ({ id }: PackedRow): number => header.parts.findIndex((part) => equalBytes(part.id, id))
        const places = of.map(placeOf).filter((place) => place >= 0)
        const needed = { header, offset, bytes, places: places.sort((a, b) => a - b) }
        if (places.length > 0) moves.push(...(await this.#copy(pack, [needed])))
        lose(
          of.filter((row) => placeOf(row) < 0),
          'another record is in its place',
        )
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (error.code !== 'DATA_DAMAGED' && error.code !== 'NOT_FOUND') throw error
        lose(of, error.message)
      }
    }
    await this.#move(pack, moves)
    if (damages.length === 0) return true
    log.error({ tenant: tenant.id, pack: pack.uuid, records: damages.length }, 'a pack holds damaged records')
    await store.quarantine.enter(damages)
    return false
  }
}

/** Where each of its parts lies. */
const headsOf = ({ header, offset }: LeftRecord): RecordHead[] => header.parts.map(({ id }) => ({ id, offset }))
