// The CPU work on records: check chunks, encode them, and read them again; pure functions that run on the record threads.
import { equalBytes, hex, type Codec } from '../../protocol/chunk.ts'
import { areHeads, readHeads, type ChunkHead } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { checkChunks, decodedView } from '../../protocol/host/chunk-steps.ts'
import { parseRecord, RECORD, recordBytes, writeRecord, type RecordHeader, type RecordType } from './format.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'

export interface IngestJob {
  /** The table of the chunks' heads. */
  readonly heads: Uint8Array
  /** Their stored bytes one behind the other. */
  readonly stored: Uint8Array
  readonly idKey: Uint8Array
  /** Chunk size of the tenant: no chunk may be longer, in bytes. */
  readonly chunkBytes: number
}

/** An encoded record in a buffer, with what the index keeps of it. */
export interface EncodedRecord {
  readonly id: Uint8Array
  readonly type: RecordType
  readonly codec: Codec
  readonly plainLength: number
  readonly storedLength: number
  /** Where the record begins in the buffer. */
  readonly offset: number
}

export interface EncodedBatch {
  readonly buffer: Uint8Array<ArrayBuffer>
  readonly records: readonly EncodedRecord[]
}

/** A record as it lies in bytes read from a pack. */
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

/** The index entry of a record that is to be checked. */
export interface CheckPlace extends RecordPlace, Omit<RecordHeader, 'id'> {}

export interface CheckJob {
  readonly buffer: ArrayBuffer
  readonly places: readonly CheckPlace[]
  readonly idKey: Uint8Array
}

const refused = (id: Uint8Array, thrown: unknown): VarveError => {
  const name = hex(id)
  return new VarveError('CHUNK_INVALID', `chunk ${name} was refused: ${asVarveError(thrown).message}`, {
    details: { id: name },
    cause: thrown,
  })
}

/** The records that chunks become when they are stored in this order. */
export const recordsOf = (heads: readonly ChunkHead[]): EncodedRecord[] => {
  let offset = 0
  return heads.map((head): EncodedRecord => {
    offset += recordBytes(head.storedLength)
    return { ...head, type: RECORD.chunk, offset: offset - recordBytes(head.storedLength) }
  })
}

/**
 * Checks every chunk of a message and encodes it as a record, in the same order; CHUNK_INVALID names the first that is not what
 * it says.
 */
export const ingest = ({ heads: table, stored, idKey, chunkBytes }: IngestJob): Uint8Array<ArrayBuffer> => {
  if (!areHeads(table, stored.length)) throw new VarveError('CHUNK_INVALID', 'its codec or lengths are not allowed')
  const heads = readHeads(table)
  const long = heads.find(({ plainLength }) => plainLength > chunkBytes)
  if (long !== undefined) throw refused(long.id, new VarveError('CHUNK_INVALID', 'it is too long'))
  checkChunks(heads, stored, { idKey, take: () => {}, refusal: refused })
  const target = Buffer.from(new ArrayBuffer(stored.length + recordBytes(0) * heads.length))
  let from = 0
  for (const record of recordsOf(heads))
    writeRecord(target, record.offset, record, stored.subarray(from, (from += record.storedLength)))
  return new Uint8Array(target.buffer)
}

/** A view, as `decodedView` gives it. */
const plainOf = (buffer: ArrayBuffer, place: RecordPlace, idKey: Uint8Array): Uint8Array => {
  const record = parseRecord(new Uint8Array(buffer), place.offset)
  const plain = decodedView(record.codec, record.stored, record.plainLength)
  if (!equalBytes(keyedHash(idKey, plain), place.id))
    throw new VarveError('DATA_DAMAGED', 'the content of a record has another id')
  return plain
}

/** Keyed BLAKE3 of each record's plain bytes, or null where the record is damaged. */
export const prove = (job: ProveJob): (Uint8Array | null)[] =>
  job.places.map((place) => {
    try {
      return keyedHash(job.proofKey, plainOf(job.buffer, place, job.idKey))
    } catch {
      return null
    }
  })

/** What is wrong with each chunk's record: its checksum, what the index says of it, its content; null where nothing is. */
export const check = ({ buffer, places, idKey }: CheckJob): (string | null)[] =>
  places.map(({ id, offset, type, codec, plainLength, storedLength }) => {
    try {
      const record = parseRecord(new Uint8Array(buffer), offset)
      const same =
        equalBytes(record.id, id) &&
        record.type === type &&
        record.codec === codec &&
        record.plainLength === plainLength &&
        record.storedLength === storedLength
      if (!same) return 'it is not the record that the index names'
      const plain = decodedView(codec, record.stored, plainLength)
      return equalBytes(keyedHash(idKey, plain), id) ? null : 'its content has another id'
    } catch (error) {
      return asVarveError(error).message
    }
  })

/** Plain bytes of one record, checked; DATA_DAMAGED names the id. */
export const plain = (job: PlainJob): Uint8Array<ArrayBuffer> => {
  try {
    // a copy, as the view serves again
    return new Uint8Array(plainOf(job.buffer, job.place, job.idKey))
  } catch (error) {
    const id = hex(job.place.id)
    throw new VarveError('DATA_DAMAGED', `record ${id} is damaged: ${asVarveError(error).message}`, {
      details: { id },
      cause: error,
    })
  }
}
