// The CPU work on records: check chunks, encode them, read them again and store some of them anew; pure functions that run on the
// record threads.
import { CODEC, equalBytes, hex, type Codec } from '../../protocol/chunk.ts'
import {
  areHeads,
  plainLengthOf,
  readHeads,
  writeHeads,
  type BundleHead,
  type Part,
} from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { checkChunks, decodedView, pack, splitParts } from '../../protocol/host/chunk-steps.ts'
import { joinBytes, ownBytes } from '../../protocol/host/bytes.ts'
import {
  parseRecord,
  RECORD,
  recordBytes,
  writeRecord,
  type RecordLocation,
  type RecordType,
  type StoredRecord,
} from './format.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'

export interface IngestJob {
  /** The table of the heads. */
  readonly heads: Uint8Array
  /** The stored bytes one behind the other. */
  readonly stored: Uint8Array
  readonly idKey: Uint8Array
  /** Chunk size of the tenant: no chunk may be longer, in bytes. */
  readonly chunkBytes: number
}

/** An encoded record in a buffer, with what the index keeps of it. */
export interface EncodedRecord {
  readonly type: RecordType
  readonly codec: Codec
  readonly parts: readonly Part[]
  readonly storedLength: number
  /** Where the record begins in the buffer. */
  readonly offset: number
}

export interface EncodedBatch {
  readonly buffer: Uint8Array<ArrayBuffer>
  readonly records: readonly EncodedRecord[]
}

/** A part of a record as it lies in bytes read from a pack. */
export interface RecordPlace {
  readonly id: Uint8Array
  /** Where the record begins in the buffer. */
  readonly offset: number
}

export interface ProveJob {
  readonly buffer: ArrayBuffer
  readonly places: readonly RecordPlace[]
  readonly idKey: Uint8Array
  readonly proofKey: Uint8Array
}

export interface PlainJob {
  readonly buffer: ArrayBuffer
  readonly place: RecordPlace
  readonly idKey: Uint8Array
}

/** The index entry of a part that is to be checked. */
export interface CheckPlace extends RecordPlace, Omit<RecordLocation, 'pack' | 'offset'> {}

export interface CheckJob {
  readonly buffer: ArrayBuffer
  readonly places: readonly CheckPlace[]
  readonly idKey: Uint8Array
}

/** Some of the parts of a record. */
export interface PickedParts {
  /** The record, by itself. */
  readonly record: Uint8Array
  /** Places of the parts that are to be stored together. */
  readonly picks: readonly (readonly number[])[]
}

export interface RepackJob {
  readonly records: readonly PickedParts[]
}

/** For each pick of each record, in order, a bundle: the table of their heads and their stored bytes. */
export interface Repacked {
  readonly heads: Uint8Array<ArrayBuffer>
  readonly stored: Uint8Array<ArrayBuffer>
}

const refused = (id: Uint8Array, thrown: unknown): VarveError => {
  const name = hex(id)
  return new VarveError('CHUNK_INVALID', `chunk ${name} was refused: ${asVarveError(thrown).message}`, {
    details: { id: name },
    cause: thrown,
  })
}

/** The records that bundles become when they are stored in this order. */
export const recordsOf = (heads: readonly BundleHead[]): EncodedRecord[] => {
  let end = 0
  return heads.map((head): EncodedRecord => {
    const offset = end
    end += recordBytes(head.storedLength, head.parts.length)
    return { ...head, type: RECORD.chunk, offset }
  })
}

/**
 * Checks every chunk of a message and encodes each bundle as a record, in the same order; CHUNK_INVALID names the first chunk
 * that is not what it says.
 */
export const ingest = ({ heads: table, stored, idKey, chunkBytes }: IngestJob): Uint8Array<ArrayBuffer> => {
  if (!areHeads(table, stored.length)) throw new VarveError('CHUNK_INVALID', 'its codec or lengths are not allowed')
  const heads = readHeads(table)
  const long = heads.flatMap(({ parts }) => parts).find(({ plainLength }) => plainLength > chunkBytes)
  if (long !== undefined) throw refused(long.id, new VarveError('CHUNK_INVALID', 'it is too long'))
  checkChunks(heads, stored, { idKey, take: () => {}, refusal: refused })
  const records = recordsOf(heads)
  const last = records.at(-1)!
  const target = Buffer.from(new ArrayBuffer(last.offset + recordBytes(last.storedLength, last.parts.length)))
  let from = 0
  for (const record of records)
    writeRecord(target, record.offset, record, stored.subarray(from, (from += record.storedLength)))
  return new Uint8Array(target.buffer)
}

/** A record whose parts were unpacked: views, which the next one of this thread overwrites. */
interface Unpacked {
  readonly record: StoredRecord
  readonly plains: readonly Uint8Array[]
}

const unpack = (bytes: Uint8Array, offset: number): Unpacked => {
  const record = parseRecord(bytes, offset)
  const { codec, parts, stored } = record
  return { record, plains: splitParts(parts, decodedView(codec, stored, plainLengthOf(parts))) }
}

/** Looks at parts of records, each record unpacked once where its parts follow one another; what is thrown goes to `onError`. */
const eachPart = <P extends RecordPlace, R>(
  buffer: ArrayBuffer,
  places: readonly P[],
  look: (place: P, unpacked: Unpacked) => R,
  onError: (thrown: unknown) => R,
): R[] => {
  const bytes = new Uint8Array(buffer)
  let at = -1
  let unpacked: Unpacked | null = null
  let failure: unknown
  return places.map((place) => {
    try {
      if (place.offset !== at) {
        at = place.offset
        unpacked = null
        unpacked = unpack(bytes, at)
      }
      if (unpacked === null) throw failure
      return look(place, unpacked)
    } catch (thrown) {
      if (unpacked === null) failure = thrown
      return onError(thrown)
    }
  })
}

/** The plain bytes of a part, checked against its id. */
const plainOf = (id: Uint8Array, { record, plains }: Unpacked, idKey: Uint8Array): Uint8Array => {
  const plain = plains[record.parts.findIndex((part) => equalBytes(part.id, id))]
  if (plain === undefined || !equalBytes(keyedHash(idKey, plain), id))
    throw new VarveError('DATA_DAMAGED', 'the content of a record has another id')
  return plain
}

/** Keyed BLAKE3 of each part's plain bytes, or null where the record is damaged. */
export const prove = ({ buffer, places, idKey, proofKey }: ProveJob): (Uint8Array | null)[] =>
  eachPart(
    buffer,
    places,
    ({ id }, unpacked) => keyedHash(proofKey, plainOf(id, unpacked, idKey)),
    () => null,
  )

/** Whether a record has a part just as the index says of it. */
export const isIndexed = (
  { type, codec, parts, storedLength }: StoredRecord,
  id: Uint8Array,
  location: Omit<RecordLocation, 'pack' | 'offset'>,
): boolean => {
  const part = parts[location.place]
  return (
    part !== undefined &&
    equalBytes(part.id, id) &&
    part.plainLength === location.plainLength &&
    parts.length === location.parts &&
    type === location.type &&
    codec === location.codec &&
    storedLength === location.storedLength
  )
}

/** What is wrong with each chunk's record: its checksum, what the index says of it, its content; null where nothing is. */
export const check = ({ buffer, places, idKey }: CheckJob): (string | null)[] =>
  eachPart(
    buffer,
    places,
    (place, { record, plains }) => {
      if (!isIndexed(record, place.id, place)) return 'it is not the record that the index names'
      return equalBytes(keyedHash(idKey, plains[place.place]!), place.id) ? null : 'its content has another id'
    },
    (thrown) => asVarveError(thrown).message,
  )

/** Plain bytes of one chunk, checked; DATA_DAMAGED names the id. */
export const plain = ({ buffer, place, idKey }: PlainJob): Uint8Array<ArrayBuffer> => {
  const [found] = eachPart<RecordPlace, Uint8Array<ArrayBuffer> | VarveError>(
    buffer,
    [place],
    // a copy, as the view serves again
    ({ id }, unpacked) => ownBytes(plainOf(id, unpacked, idKey)),
    (thrown) => {
      const id = hex(place.id)
      const message = `record ${id} is damaged: ${asVarveError(thrown).message}`
      return new VarveError('DATA_DAMAGED', message, { details: { id }, cause: thrown })
    },
  )
  if (found instanceof VarveError) throw found
  return found!
}

/**
 * Stores parts of records anew, without those beside them. DATA_DAMAGED names the first chunk of a record that cannot be
 * unpacked; ids are left to whoever decodes them.
 */
export const repack = ({ records }: RepackJob): Repacked => {
  const heads: BundleHead[] = []
  const pieces: Uint8Array[] = []
  for (const { record: bytes, picks } of records) {
    const { parts } = parseRecord(bytes, 0)
    try {
      const { record, plains } = unpack(bytes, 0)
      for (const places of picks) {
        const some = places.map((place) => parts[place]!)
        const joined = joinBytes(
          places.map((place) => plains[place]!),
          plainLengthOf(some),
        )
        // what did not compress does not in part
        const { codec, bytes: stored } = record.codec === CODEC.raw ? { codec: CODEC.raw, bytes: joined } : pack(joined)
        pieces.push(stored === joined ? joined : ownBytes(stored))
        heads.push({ codec, storedLength: stored.length, parts: some })
      }
    } catch (thrown) {
      const id = hex(parts[0]!.id)
      const message = `record ${id} is damaged: ${asVarveError(thrown).message}`
      throw new VarveError('DATA_DAMAGED', message, { details: { id }, cause: thrown })
    }
  }
  const length = pieces.reduce((sum, one) => sum + one.length, 0)
  return { heads: writeHeads(heads), stored: joinBytes(pieces, length) }
}
