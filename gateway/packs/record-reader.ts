// Reads records of one tenant from packs: finds them in the index and fetches neighbours with one read.
import { hex } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { ownDamage } from './damage.ts'
import type { PackOwner } from './pack-pool.ts'
import { parseRecord, recordBytes, type RecordLocation, type StoredRecord } from './format.ts'
import { isIndexed } from './record-work.ts'
import type { Packs } from './pack-store.ts'
import { joinIds } from '../../protocol/host/bytes.ts'
import { Limiter } from '../../protocol/host/limiter.ts'

/** Most ids of one call. */
export const IDS_MAX = 4096

/** Most stored bytes that one call returns. */
export const READ_BYTES_MAX = 64 * 1024 * 1024

/** Most bytes of one read, unless one record is longer. */
const GROUP_BYTES_MAX = 4 * 1024 * 1024

/** Bytes of records that are read at once where most of them are not what was asked for. */
export const SLICE_BYTES = 1024 * 1024

/** The same however much was asked for: what one message of a download or upload has is in one read. */
const SLICE_BYTES_MAX = 8 * 1024 * 1024

/** How often one call follows a record that collections move from pack to pack while it reads. */
const MOVES_MAX = 3

/** Calls that may wait for a read. */
const READS_WAITING_MAX = 65_536

/** Where records are; the catalog implements it. */
export interface RecordIndex {
  /** In the order of the ids, which lie behind one another; null for one that is not there. */
  locate(args: { tenant: string; ids: Uint8Array }): Promise<readonly (RecordLocation | null)[]>
}

/** A record as fetched for one of its parts, nothing checked: it begins at `offset` of bytes that may hold its neighbours too. */
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

const lengthOf = ({ storedLength, parts }: RecordLocation): number => recordBytes(storedLength, parts)
const endOf = (location: RecordLocation): number => location.offset + lengthOf(location)

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

/** Parses each record once, however many of its parts are looked at. */
export class RecordParser {
  readonly #parsed = new WeakMap<Uint8Array, Map<number, StoredRecord | VarveError>>()

  /** The record there, its checksum checked; DATA_DAMAGED. */
  parse(bytes: Uint8Array, offset: number): StoredRecord {
    const parsed = this.#parsed.get(bytes) ?? new Map<number, StoredRecord | VarveError>()
    this.#parsed.set(bytes, parsed)
    const record = parsed.get(offset) ?? recordOr(bytes, offset)
    parsed.set(offset, record)
    if (record instanceof VarveError) throw record
    return record
  }
}

const recordOr = (bytes: Uint8Array, offset: number): StoredRecord | VarveError => {
  try {
    return parseRecord(bytes, offset)
  } catch (error) {
    return asVarveError(error)
  }
}

/** The record, checked against its checksum, its id and its index entry; DATA_DAMAGED names the id. */
export const checkFetched = (
  { id, location, bytes, offset }: FetchedRecord,
  parser = new RecordParser(),
): StoredRecord => {
  let record: StoredRecord
  try {
    record = parser.parse(bytes, offset)
  } catch (error) {
    throw damagedRecord(id, asVarveError(error).message, { location, cause: error })
  }
  if (!isIndexed(record, id, location))
    throw damagedRecord(id, 'it is not the record that the index names', { location })
  return record
}

/** Bytes of the records of these parts, each record once. */
export const distinctBytes = (locations: Iterable<RecordLocation>): number => {
  const seen = new Set<string>()
  let bytes = 0
  for (const location of locations) {
    const name = location.parts === 1 ? null : `${location.pack} ${location.offset}`
    if (name !== null && seen.has(name)) continue
    if (name !== null) seen.add(name)
    bytes += lengthOf(location)
  }
  return bytes
}

/**
 * Ranges of so many ids: each of records with no more bytes than the parts asked for have and SLICE_BYTES_MAX, or than
 * SLICE_BYTES, and one record more.
 */
export const slicesOf = (ids: number, located: readonly Wanted[]): { readonly from: number; readonly to: number }[] => {
  const slices: { from: number; to: number }[] = []
  let from = 0
  let seen = new Set<string>()
  let [bytes, plainBytes] = [0, 0]
  for (const { index, location } of located) {
    const name = `${location.pack} ${location.offset}`
    const more = seen.has(name) ? 0 : lengthOf(location)
    if (more > 0 && bytes > Math.min(SLICE_BYTES_MAX, Math.max(SLICE_BYTES, plainBytes))) {
      slices.push({ from, to: index })
      from = index
      seen = new Set()
      bytes = 0
      plainBytes = 0
    }
    bytes += more
    plainBytes += location.plainLength + recordBytes(0)
    seen.add(name)
  }
  if (from < ids) slices.push({ from, to: ids })
  return slices
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
    const located = await this.#locateAll(ids)
    const bytes = distinctBytes(located.map(({ location }) => location))
    if (bytes > READ_BYTES_MAX) throw new VarveError('PARAMS_INVALID', `more than ${READ_BYTES_MAX} bytes in one call`)
    return this.#fetch(ids, located)
  }

  /**
   * The same in slices, in order, however much it is: see slicesOf. Done with one, the next is read. PARAMS_INVALID past IDS_MAX
   * ids; STORE_FAILED.
   */
  async *slices(ids: readonly Uint8Array[]): AsyncGenerator<(FetchedRecord | VarveError)[]> {
    if (ids.length > IDS_MAX) throw new VarveError('PARAMS_INVALID', `more than ${IDS_MAX} ids in one call`)
    const located = await this.#locateAll(ids)
    for (const { from, to } of slicesOf(ids.length, located)) {
      const some = located.filter(({ index }) => index >= from && index < to)
      yield await this.#fetch(
        ids.slice(from, to),
        some.map(({ index, location }) => ({ index: index - from, location })),
      )
    }
  }

  #locateAll(ids: readonly Uint8Array[]): Promise<Wanted[]> {
    return this.#locate(
      ids,
      ids.map((_, index) => index),
    )
  }

  async #fetch(ids: readonly Uint8Array[], located: readonly Wanted[]): Promise<(FetchedRecord | VarveError)[]> {
    const fetched = Array.from<FetchedRecord | VarveError | null>({ length: ids.length }).fill(null)
    let wanted = located
    for (let moves = 0; wanted.length > 0; moves++) {
      const gone: Wanted[] = []
      await Promise.all(this.#plan(wanted).map((group) => this.#fetchGroup(group, ids, { fetched, gone })))
      wanted = moves < MOVES_MAX ? await this.#moved(ids, gone) : []
    }
    return fetched.map((one, index) => one ?? damagedRecord(ids[index]!, 'the index does not have it'))
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
    into: { readonly fetched: (FetchedRecord | VarveError | null)[]; readonly gone: Wanted[] },
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
