// Copies the live records of packs into new ones, in their order, and points the index there once the copies are synced.
import { ID_BYTES } from '../../protocol/chunk.ts'
import { Throttle } from '../../protocol/throttle.ts'
import { joinBytes, joinIds } from '../datastore/bytes.ts'
import type { Move } from '../datastore/database/collection.ts'
import { failpoint } from '../datastore/failpoint.ts'
import type { PackKind } from '../datastore/format.ts'
import type { PackRecord } from '../datastore/pack-scan.ts'
import type { PackWriter } from '../datastore/pack-writer.ts'
import type { SurveyedPack } from './collection-plan.ts'
import type { MaintenanceContext } from './context.ts'

/** Records and bytes that are looked up and copied at once. */
const BATCH_RECORDS = 1024
const BATCH_BYTES = 4 * 1024 * 1024

/** Rows that one transaction points elsewhere: uploads' transactions wait behind it. */
const MOVES_AT_ONCE = 4096

interface Copy {
  readonly id: Uint8Array
  readonly offset: number
  readonly bytes: Uint8Array
}

export class PackRewriter implements AsyncDisposable {
  readonly #context: MaintenanceContext
  readonly #throttle: Throttle
  readonly #writers = new Map<PackKind, PackWriter>()
  #bytes = 0

  constructor(context: MaintenanceContext, bytesPerSecond: number | null) {
    this.#context = context
    this.#throttle = new Throttle(bytesPerSecond, context.clock)
  }

  /** Bytes copied so far. */
  get bytes(): number {
    return this.#bytes
  }

  /** True when nothing in the index names the pack any more; false where records in it could not be read: those are quarantined. STORE_FULL, STORE_FAILED. */
  async rewrite(pack: SurveyedPack): Promise<boolean> {
    const { datastore, tenant, signal } = this.#context
    const { database } = datastore
    const store = datastore.tenantStore(tenant)
    const writer = this.#writer(pack.kind)
    const ids: Uint8Array[] = []
    const moves: Move[] = []
    let batch: Copy[] = []
    let batchBytes = 0
    const flush = async (): Promise<void> => {
      const copies = await this.#named(pack.id, batch)
      batch = []
      batchBytes = 0
      if (copies.length === 0) return
      const length = copies.reduce((sum, { bytes }) => sum + bytes.length, 0)
      failpoint('rewrite.copy')
      const place = await writer.append(
        joinBytes(
          copies.map(({ bytes }) => bytes),
          length,
        ),
      )
      this.#bytes += length
      let { offset } = place
      for (const { id, bytes, offset: fromOffset } of copies) {
        ids.push(id)
        moves.push({ fromOffset, pack: place.pack, offset })
        offset += bytes.length
      }
    }
    const onRead = (bytes: number): Promise<void> => this.#throttle.take(bytes, signal)
    // nothing is there to be copied of a pack that is gone
    const there = (await store.packs.size(pack.uuid)) !== null
    for await (const piece of there ? store.packs.scan(pack.uuid, { to: pack.bytes, signal, onRead }) : []) {
      if (!('header' in piece)) continue
      batch.push(copyOf(piece))
      batchBytes += piece.bytes.length
      if (batch.length >= BATCH_RECORDS || batchBytes >= BATCH_BYTES) await flush()
    }
    await flush()
    const checkpoint = writer.checkpoint()
    await writer.sync(checkpoint)
    const packs = checkpoint.packs.map(({ held, bytes, sealed }) => ({ id: held.id, bytes, sealed }))
    let moved = 0
    for (let from = 0; from < moves.length; from += MOVES_AT_ONCE) {
      failpoint('rewrite.move')
      moved += await database.call('collection.move', {
        tenant: tenant.id,
        pack: pack.id,
        ids: joinIds(ids.slice(from, from + MOVES_AT_ONCE)),
        moves: moves.slice(from, from + MOVES_AT_ONCE),
        packs,
      })
    }
    await writer.acknowledged(checkpoint)
    return moved === pack.rows || this.#leftNothing(pack)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const writer of this.#writers.values()) await writer[Symbol.asyncDispose]()
  }

  #writer(kind: PackKind): PackWriter {
    const { datastore, tenant } = this.#context
    const writer = this.#writers.get(kind) ?? datastore.tenantStore(tenant).packs.writer(kind)
    this.#writers.set(kind, writer)
    return writer
  }

  /** Those that the index names at just this place. */
  async #named(pack: number, copies: readonly Copy[]): Promise<Copy[]> {
    if (copies.length === 0) return []
    const { datastore, tenant } = this.#context
    const named = await datastore.database.call('collection.named', {
      tenant: tenant.id,
      pack,
      ids: joinBytes(
        copies.map(({ id }) => id),
        copies.length * ID_BYTES,
      ),
      offsets: copies.map(({ offset }) => offset),
    })
    return copies.filter((_, index) => named[index] === 1)
  }

  /** Quarantines what the index still names in the pack and the scan did not find whole; the pack stays until the next collection. */
  async #leftNothing(pack: SurveyedPack): Promise<boolean> {
    const { datastore, tenant, log } = this.#context
    const rows = await datastore.database.call('collection.rowsOf', { tenant: tenant.id, pack: pack.id })
    if (rows.length === 0) return true
    log.error({ tenant: tenant.uuid, pack: pack.uuid, records: rows.length }, 'a pack holds damaged records')
    const reason = 'it was not whole where the index has it'
    const damages = rows.map(({ id, type, offset }) => ({ id, type, place: { pack: pack.uuid, offset }, reason }))
    await datastore.tenantStore(tenant).quarantine.enter(damages)
    return false
  }
}

/** The scan's bytes are valid only until its next step. */
const copyOf = ({ header, offset, bytes }: PackRecord): Copy => ({
  id: header.id,
  offset,
  bytes: Uint8Array.from(bytes),
})
