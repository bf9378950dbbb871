// Chunks as they leave the datastore: bundles that are wanted whole as they are stored, and of others just the wanted chunks,
// stored anew. What lies beside a chunk may be of an image that whoever gets it must not see.
import { writeHeads, readHeads, type BundleHead } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { BUNDLE_BYTES_MAX, hex } from '../../protocol/chunk.ts'
import { joinBytes, ownBytes } from '../../protocol/host/bytes.ts'
import { RECORD_HEADER_BYTES_MAX, recordBytes, type StoredRecord } from '../packs/format.ts'
import { checkFetched, damagedRecord, RecordParser, SLICE_BYTES, type FetchedRecord } from '../packs/record-reader.ts'
import type { RecordPool } from '../packs/record-pool.ts'
import type { Repacked } from '../packs/record-work.ts'

/** Bundles: their checksums were checked, the ids of their chunks are left to the reader that decodes them. */
export interface StoredChunks {
  /** The table of their heads. */
  readonly heads: Uint8Array
  /** Their stored bytes one behind the other. */
  readonly stored: Uint8Array
}

/** Most bytes of a record that holds more than one chunk. */
const BUNDLE_RECORD_BYTES = BUNDLE_BYTES_MAX + RECORD_HEADER_BYTES_MAX

/** Most bytes of packs that are in memory to read so many chunks of these bytes: each may lie beside others. */
export const readBytesFor = (count: number, chunkBytes: number): number =>
  Math.max(count * chunkBytes, Math.min(count * BUNDLE_RECORD_BYTES, SLICE_BYTES + BUNDLE_RECORD_BYTES))

/** Packs parts of records anew; see RecordPool.repack. */
export interface Repacker {
  repack(records: Parameters<RecordPool['repack']>[0]['records']): Promise<Repacked>
}

/** Wanted neighbours of one record. */
interface Run {
  readonly record: StoredRecord
  /** What was fetched for the first of them. */
  readonly fetched: FetchedRecord
  readonly from: number
  count: number
}

interface Piece {
  readonly head: BundleHead
  readonly stored: Uint8Array
}

const joined = (pieces: readonly Uint8Array[]): Uint8Array =>
  joinBytes(
    pieces,
    pieces.reduce((sum, { length }) => sum + length, 0),
  )

/** Chunks in the order asked, in runs; DATA_DAMAGED names the first bad id. */
const runsOf = (all: readonly FetchedRecord[]): Run[] => {
  const parser = new RecordParser()
  const runs: Run[] = []
  for (const fetched of all) {
    const record = checkFetched(fetched, parser)
    const { place } = fetched.location
    const last = runs.at(-1)
    if (last?.record === record && last.from + last.count === place) last.count++
    else runs.push({ record, fetched, from: place, count: 1 })
  }
  return runs
}

const nameOf = ({ from, count }: Run): string => `${from} ${count}`

const isWhole = ({ record, count }: Run): boolean => count === record.parts.length

/** The bundles that runs of parts of records become, by the record and the run's name; each record is unpacked once. */
const repacked = async (runs: readonly Run[], by: Repacker): Promise<Map<StoredRecord, Map<string, Piece>>> => {
  const pieces = new Map<StoredRecord, Map<string, Piece>>()
  const byRecord = [...Map.groupBy(runs, ({ record }) => record)].map(([record, of]) => ({
    record,
    fetched: of[0]!.fetched,
    picks: [...new Map(of.map((run) => [nameOf(run), run])).values()],
  }))
  if (byRecord.length === 0) return pieces
  const records = byRecord.map(({ record, fetched: { bytes, offset }, picks }) => ({
    record: ownBytes(bytes.subarray(offset, offset + recordBytes(record.storedLength, record.parts.length))),
    picks: picks.map(({ from, count }) => Array.from({ length: count }, (_, index) => from + index)),
  }))
  try {
    const { heads: table, stored } = await by.repack(records)
    const heads = readHeads(table)
    let next = 0
    let end = 0
    for (const { record, picks } of byRecord) {
      const named = new Map<string, Piece>()
      for (const pick of picks) {
        const head = heads[next++]!
        named.set(nameOf(pick), { head, stored: stored.subarray(end, (end += head.storedLength)) })
      }
      pieces.set(record, named)
    }
    return pieces
  } catch (thrown) {
    const error = asVarveError(thrown)
    const bad = byRecord.find(({ record }) => hex(record.parts[0]!.id) === error.details['id'])
    if (error.code !== 'DATA_DAMAGED' || bad === undefined) throw error
    const { id, location } = bad.fetched
    throw damagedRecord(id, error.message, { location, cause: error })
  }
}

/** Fetched chunks as they are sent, in the same order. DATA_DAMAGED names the first bad id. */
export const storedChunks = async (fetched: readonly FetchedRecord[], by: Repacker): Promise<StoredChunks> => {
  const runs = runsOf(fetched)
  const anew = await repacked(
    runs.filter((run) => !isWhole(run)),
    by,
  )
  const pieces = runs.map((run): Piece => {
    const { record } = run
    if (isWhole(run)) return { head: record, stored: record.stored }
    const piece = anew.get(record)?.get(nameOf(run))
    if (piece === undefined) throw new VarveError('INTERNAL', 'chunks that were stored anew are not there')
    return piece
  })
  const heads = writeHeads(pieces.map(({ head }) => head))
  return { heads, stored: joined(pieces.map(({ stored }) => stored)) }
}

/** All of them behind one another. */
export const joinStored = (all: readonly StoredChunks[]): StoredChunks => {
  const [first] = all
  if (all.length === 1 && first !== undefined) return first
  return { heads: joined(all.map(({ heads }) => heads)), stored: joined(all.map(({ stored }) => stored)) }
}
