// The CPU work on records: decompress within limits, check ids, encode; pure functions that run on the verify threads.
import { constants, zstdDecompressSync } from 'node:zlib'
import { CODEC, equalBytes, hex, ID_BYTES, isCodec, type Codec } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { parseRecord, RECORD, recordBytes, writeRecord, type RecordType } from './format.ts'
import { keyedHash } from './keyed-hash.ts'

/** Largest zstd window accepted, as a power of two; larger ones would let a small chunk claim much memory. */
const ZSTD_WINDOW_LOG_MAX = 23

/** A chunk as its sender says it is: a piece of a batch's buffer. */
export interface ReceivedChunk {
  readonly id: Uint8Array
  readonly codec: Codec
  readonly plainLength: number
  /** Where its stored bytes begin in the buffer. */
  readonly offset: number
  /** Length of its stored bytes. */
  readonly length: number
}

export interface IngestJob {
  readonly buffer: ArrayBuffer
  readonly chunks: readonly ReceivedChunk[]
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

/** Room beyond the plain length in the output buffer, in bytes. */
const OUTPUT_MARGIN_BYTES = 64

/** Plain bytes of stored ones; throws when they are not exactly `plainLength` long. */
export const decode = (codec: Codec, stored: Uint8Array, plainLength: number): Uint8Array => {
  const plain =
    codec === CODEC.raw
      ? stored
      : zstdDecompressSync(stored, {
          maxOutputLength: plainLength,
          // as large as the result, so that one call fills it; the margin also keeps it above zlib's smallest
          chunkSize: plainLength + OUTPUT_MARGIN_BYTES,
          params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
        })
  if (plain.length !== plainLength) throw new VarveError('CHUNK_INVALID', 'the plain length is not what was said')
  return plain
}

const checkReceived = (job: IngestJob, chunk: ReceivedChunk): void => {
  const { id, codec, plainLength, offset, length } = chunk
  const whole = [plainLength, offset, length].every((value) => Number.isSafeInteger(value) && value >= 0)
  const inside = whole && length > 0 && offset + length <= job.buffer.byteLength
  const fits = plainLength > 0 && plainLength <= job.chunkBytes && length <= plainLength
  if (id.length !== ID_BYTES || !isCodec(codec) || !inside || !fits)
    throw new VarveError('CHUNK_INVALID', 'its codec or lengths are not allowed')
}

/** Checks every chunk of a batch and encodes it as a record; CHUNK_INVALID names the first that is not what it says. */
export const ingest = (job: IngestJob): EncodedBatch => {
  const total = job.chunks.reduce((sum, { length }) => sum + recordBytes(length > 0 ? length : 0), 0)
  // each chunk is checked before its length counts; a list that claims more than its buffer holds is refused here
  if (total - recordBytes(0) * job.chunks.length > job.buffer.byteLength || !Number.isSafeInteger(total))
    throw new VarveError('CHUNK_INVALID', 'the batch claims more bytes than it has')
  const target = Buffer.from(new ArrayBuffer(total))
  const records: EncodedRecord[] = []
  let offset = 0
  for (const chunk of job.chunks) {
    const { id, codec, plainLength } = chunk
    let stored: Uint8Array
    try {
      checkReceived(job, chunk)
      stored = new Uint8Array(job.buffer, chunk.offset, chunk.length)
      if (!equalBytes(keyedHash(job.idKey, decode(codec, stored, plainLength)), id))
        throw new VarveError('CHUNK_INVALID', 'its content has another id')
    } catch (error) {
      const name = hex(id.subarray(0, ID_BYTES))
      const why = asVarveError(error).message
      throw new VarveError('CHUNK_INVALID', `chunk ${name} was refused: ${why}`, {
        details: { id: name },
        cause: error,
      })
    }
    records.push({ id, type: RECORD.chunk, codec, plainLength, storedLength: stored.length, offset })
    offset = writeRecord(target, offset, { id, type: RECORD.chunk, codec, plainLength }, stored)
  }
  return { buffer: new Uint8Array(target.buffer, 0, offset), records }
}

const plainOf = (buffer: ArrayBuffer, place: RecordPlace, idKey: Uint8Array): Uint8Array => {
  const record = parseRecord(new Uint8Array(buffer), place.offset)
  const plain = decode(record.codec, record.stored, record.plainLength)
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

/** Plain bytes of one record, checked; DATA_DAMAGED names the id. */
export const plain = (job: PlainJob): Uint8Array<ArrayBuffer> => {
  try {
    // a copy, because what decompression returns may be a view of a larger buffer that is not ours to transfer
    return new Uint8Array(plainOf(job.buffer, job.place, job.idKey))
  } catch (error) {
    const id = hex(job.place.id)
    throw new VarveError('DATA_DAMAGED', `record ${id} is damaged: ${asVarveError(error).message}`, {
      details: { id },
      cause: error,
    })
  }
}
