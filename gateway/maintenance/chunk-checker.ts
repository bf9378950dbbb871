// Reads chunks in the order in which they lie in packs, a window of ids at a time, and checks each on record threads.
import { VarveError } from '../../protocol/errors.ts'
import { damageOf, MISSING, type Damage } from '../packs/damage.ts'
import { type RecordLocation, RECORD, recordBytes } from '../packs/format.ts'
import type { Throttle } from '../../protocol/host/throttle.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import { distinctBytes, IDS_MAX, type FetchedRecord } from '../packs/record-reader.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import type { RecordPool } from '../packs/record-pool.ts'

/** Chunks that are sorted by their places together: the more, the longer the reads. */
export const WINDOW_IDS = 16 * 1024

/** Stored bytes and records that are read together. */
const BATCH_BYTES_MAX = 8 * 1024 * 1024
const BATCH_RECORDS_MAX = 1024

/** Batches that are read or checked at once. */
const BATCHES_AT_ONCE = 3

interface Placed {
  readonly id: Uint8Array
  readonly location: RecordLocation
}

const isSameRecord = (a: RecordLocation | undefined, b: RecordLocation): boolean =>
  a?.pack === b.pack && a.offset === b.offset

/** Records in pack order in pieces that are read together. */
export const batchesOf = (placed: readonly Placed[]): Placed[][] => {
  const sorted = placed.toSorted(({ location: a }, { location: b }) =>
    a.pack === b.pack ? a.offset - b.offset : a.pack < b.pack ? -1 : 1,
  )
  const batches: Placed[][] = []
  let bytes = 0
  for (const one of sorted) {
    const { storedLength, parts } = one.location
    const last = batches.at(-1)
    const length = isSameRecord(last?.at(-1)?.location, one.location) ? 0 : recordBytes(storedLength, parts)
    const fits = last !== undefined && last.length < BATCH_RECORDS_MAX && bytes + length <= BATCH_BYTES_MAX
    // a record is read and unpacked once
    if (last !== undefined && (fits || length === 0)) {
      last.push(one)
      bytes += length
    } else {
      batches.push([one])
      bytes = length
    }
  }
  return batches
}

export class ChunkChecker {
  readonly #store: TenantStore
  readonly #pool: RecordPool
  readonly #throttle: Throttle
  readonly #signal: AbortSignal
  readonly #onRead: (bytes: number) => void

  constructor(options: {
    store: TenantStore
    pool: RecordPool
    throttle: Throttle
    signal: AbortSignal
    /** Called with the stored bytes as they are read. */
    onRead: (bytes: number) => void
  }) {
    this.#store = options.store
    this.#pool = options.pool
    this.#throttle = options.throttle
    this.#signal = options.signal
    this.#onRead = options.onRead
  }

  /** What is wrong with these chunks: those missing from the index, and those that differ from it. STORE_FAILED. */
  async check(ids: readonly Uint8Array[]): Promise<Damage[]> {
    const damages: Damage[] = []
    const placed: Placed[] = []
    for (let from = 0; from < ids.length; from += IDS_MAX) {
      const some = ids.slice(from, from + IDS_MAX)
      for (const [index, location] of (await this.#store.locate(some)).entries()) {
        const id = some[index]!
        if (location !== null) placed.push({ id, location })
        else damages.push({ id, type: RECORD.chunk, place: null, reason: MISSING })
      }
    }
    const batches = batchesOf(placed)
    let next = 0
    const work = async (): Promise<void> => {
      for (let batch = batches[next++]; batch !== undefined; batch = batches[next++])
        damages.push(...(await this.#batch(batch)))
    }
    const working = await Promise.allSettled(Array.from({ length: BATCHES_AT_ONCE }, work))
    for (const one of working) if (one.status === 'rejected') throw one.reason
    return damages
  }

  async #batch(batch: readonly Placed[]): Promise<Damage[]> {
    const bytes = distinctBytes(batch.map(({ location }) => location))
    await this.#throttle.take(bytes, this.#signal)
    this.#signal.throwIfAborted()
    const ids = batch.map(({ id }) => id)
    const damages: Damage[] = []
    const byBuffer = new Map<ArrayBuffer, FetchedRecord[]>()
    for (const fetched of await this.#store.fetch(ids)) {
      if (fetched instanceof VarveError) {
        const damage = damageOf(fetched)
        if (damage !== null) damages.push(damage)
        continue
      }
      const { buffer } = fetched.bytes
      const group = byBuffer.get(buffer)
      if (group === undefined) byBuffer.set(buffer, [fetched])
      else group.push(fetched)
    }
    const checked = [...byBuffer].map(async ([buffer, group]) => {
      const { idKey } = this.#store.tenant
      const places = group.map(({ id, offset, location }) => ({ ...location, id: ownBytes(id), offset }))
      const reasons = await this.#pool.check({ buffer, places, idKey })
      for (const [index, { id, location }] of group.entries()) {
        const reason = reasons[index] ?? null
        if (reason !== null) damages.push({ id: ownBytes(id), type: RECORD.chunk, place: location, reason })
      }
    })
    await Promise.all(checked)
    this.#onRead(bytes)
    return damages
  }
}
