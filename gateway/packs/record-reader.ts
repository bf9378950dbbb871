// Reads records of one tenant from packs: finds them in the index and fetches neighbours with one read.
import { equalBytes, hex } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { ownDamage } from './damage.ts'
import type { PackOwner } from './pack-pool.ts'
import { parseRecord, recordBytes, type RecordLocation, type StoredRecord } from './format.ts'
import type { Packs } from './pack-store.ts'
import { joinIds } from '../../protocol/host/bytes.ts'
import { Limiter } from '../../protocol/host/limiter.ts'

/** Most ids of one call. */
export const IDS_MAX = 4096

/** Most stored bytes that one call returns. */
export const READ_BYTES_MAX = 64 * 1024 * 1024

/** Most bytes of one read, unless one record is longer. */
const GROUP_BYTES_MAX = 4 * 1024 * 1024

/** How often one call follows a record that collections move from pack to pack while it reads. */
const MOVES_MAX = 3

/** Calls that may wait for a read. */
const READS_WAITING_MAX = 65_536

/** Where records are; the catalog implements it. */
export interface RecordIndex {
  /** In the order of the ids, which lie behind one another; null for one that is not there. */
  locate(args: { tenant: string; ids: Uint8Array }): Promise<readonly (RecordLocation | null)[]>
}

/** A record as fetched, nothing checked: it begins at `offset` of bytes that may hold its neighbours too. */
export interface FetchedRecord {
  readonly id: Uint8Array
  readonly location: RecordLocation
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly offset: number
}

interface Wanted {
  /** Index in the caller's list. */
  readonly index: number
  readonly location: RecordLocation
}

/** One read of a pack, and the records that it is for. */
export interface ReadGroup {
  readonly pack: string
  readonly offset: number
  readonly length: number
  readonly wanted: readonly Wanted[]
}

const endOf = ({ offset, storedLength }: RecordLocation): number => offset + recordBytes(storedLength)

/** Reads that cover all the locations, in pack order; gaps of at most so many bytes are included. */
export const planReads = (wanted: readonly Wanted[], gapBytes: number): ReadGroup[] => {
  const sorted = [...wanted].sort((a, b) =>
    a.location.pack === b.location.pack
      ? a.location.offset - b.location.offset
      : a.location.pack < b.location.pack
        ? -1
        : 1,
  )
  const groups: { pack: string; offset: number; length: number; wanted: Wanted[] }[] = []
  for (const one of sorted) {
    const { pack, offset } = one.location
    const end = endOf(one.location)
    const last = groups.at(-1)
    const near = last?.pack === pack && offset - (last.offset + last.length) <= gapBytes
    if (last !== undefined && near && end - last.offset <= GROUP_BYTES_MAX) {
      last.length = Math.max(last.length, end - last.offset)
      last.wanted.push(one)
    } else {
      groups.push({ pack, offset, length: end - offset, wanted: [one] })
    }
  }
  return groups
}

/** DATA_DAMAGED that names the id, and where it lies if the index has it; damage.ts reads it. */
export const damagedRecord = (
  id: Uint8Array,
  why: string,
  { location = null, cause }: { location?: RecordLocation | null; cause?: unknown } = {},
): VarveError => {
  const place = location === null ? {} : { type: location.type, pack: location.pack, offset: location.offset }
  const details = { id: hex(id), ...place }
  return ownDamage(new VarveError('DATA_DAMAGED', `record ${hex(id)} is damaged: ${why}`, { details, cause }))
}

/** The record, checked against its checksum, its id and its index entry; DATA_DAMAGED names the id. */
export const checkFetched = ({ id, location, bytes, offset }: FetchedRecord): StoredRecord => {
  let record: StoredRecord
  try {
    record = parseRecord(bytes, offset)
  } catch (error) {
    throw damagedRecord(id, asVarveError(error).message, { location, cause: error })
  }
  const { type, codec, plainLength, storedLength } = record
  const same =
    equalBytes(record.id, id) &&
    type === location.type &&
    codec === location.codec &&
    plainLength === location.plainLength &&
    storedLength === location.storedLength
  if (!same) throw damagedRecord(id, 'it is not the record that the index names', { location })
  return record
}

export class RecordReader {
  readonly #tenant: PackOwner
  readonly #index: RecordIndex
  readonly #store: Packs
  /** Of one tenant's reads. */
  readonly #limiter: Limiter

  constructor(options: { tenant: PackOwner; index: RecordIndex; store: Packs }) {
    this.#tenant = options.tenant
    this.#index = options.index
    this.#store = options.store
    const { concurrency } = options.store.costs
    this.#limiter = new Limiter({ weightMax: concurrency, waitingMax: READS_WAITING_MAX })
  }

  /**
   * The records in the order asked; one that is absent or cannot be read is DATA_DAMAGED in its place. PARAMS_INVALID past
   * IDS_MAX ids or READ_BYTES_MAX bytes; STORE_FAILED.
   */
  async fetch(ids: readonly Uint8Array[]): Promise<(FetchedRecord | VarveError)[]> {
    if (ids.length > IDS_MAX) throw new VarveError('PARAMS_INVALID', `more than ${IDS_MAX} ids in one call`)
    const fetched: (FetchedRecord | VarveError)[] = ids.map((id) => damagedRecord(id, 'the index does not have it'))
    let wanted = await this.#locate(
      ids,
      ids.map((_, index) => index),
    )
    const bytes = wanted.reduce((sum, { location }) => sum + location.storedLength, 0)
    if (bytes > READ_BYTES_MAX) throw new VarveError('PARAMS_INVALID', `more than ${READ_BYTES_MAX} bytes in one call`)
    for (let moves = 0; wanted.length > 0; moves++) {
      const gone: Wanted[] = []
      await Promise.all(this.#plan(wanted).map((group) => this.#fetchGroup(group, ids, { fetched, gone })))
      wanted = moves < MOVES_MAX ? await this.#moved(ids, gone) : []
    }
    return fetched
  }

  #plan(wanted: readonly Wanted[]): ReadGroup[] {
    return planReads(wanted, this.#store.costs.readGapBytes)
  }

  async #locate(ids: readonly Uint8Array[], indices: readonly number[]): Promise<Wanted[]> {
    const named = joinIds(indices.map((index) => ids[index]!))
    const locations = await this.#index.locate({ tenant: this.#tenant.id, ids: named })
    return locations.flatMap((location, at) => (location === null ? [] : [{ index: indices[at]!, location }]))
  }

  /** Those of the records, whose packs are gone, that a collection has moved elsewhere since they were located. */
  async #moved(ids: readonly Uint8Array[], gone: readonly Wanted[]): Promise<Wanted[]> {
    if (gone.length === 0) return []
    const before = new Map(gone.map(({ index, location }) => [index, location.pack]))
    const now = await this.#locate(ids, [...before.keys()])
    return now.filter(({ index, location }) => location.pack !== before.get(index))
  }

  async #fetchGroup(
    group: ReadGroup,
    ids: readonly Uint8Array[],
    into: { readonly fetched: (FetchedRecord | VarveError)[]; readonly gone: Wanted[] },
  ): Promise<void> {
    const { pack, offset, length, wanted } = group
    const { fetched, gone } = into
    try {
      const name = { tenant: this.#tenant.id, pack }
      const bytes = await this.#limiter.run(1, () => this.#store.read(name, offset, length))
      for (const { index, location } of wanted)
        fetched[index] = { id: ids[index]!, location, bytes, offset: location.offset - offset }
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code === 'NOT_FOUND') gone.push(...wanted)
      else if (error.code !== 'DATA_DAMAGED') throw error
      // a pack that ends early: what lies before its end is still usable
      else if (wanted.length > 1) for (const one of wanted) await this.#fetchGroup(this.#plan([one])[0]!, ids, into)
      // this one is shown to people, to whom the pack's name means nothing
      const why = error.code === 'NOT_FOUND' ? 'its pack is gone' : 'its pack ends before it does'
      if (error.code === 'NOT_FOUND' || wanted.length === 1)
        for (const { index, location } of wanted)
          fetched[index] = damagedRecord(ids[index]!, why, { location, cause: error })
    }
  }
}
