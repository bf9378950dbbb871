// The checks on chunks from outside and on records from packs: what is right passes, everything else ends in a typed error.
import { randomBytes } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CODEC, hex } from '../../../protocol/chunk.ts'
import type { VarveError } from '../../../protocol/errors.ts'
import { parseRecord, RECORD, recordBytes, writeRecord } from '../../../gateway/datastore/format.ts'
import { keyedHash } from '../../../gateway/datastore/keyed-hash.ts'
import { decode, ingest, plain, prove, type IngestJob, type ReceivedChunk } from '../../../gateway/datastore/verify.ts'

const idKey = new Uint8Array(randomBytes(32))
const proofKey = new Uint8Array(randomBytes(32))
const CHUNK_BYTES = 4096

const jobOf = (plains: readonly Uint8Array[]): IngestJob => {
  const stored = plains.map((bytes, index) => (index % 2 === 0 ? bytes : new Uint8Array(zstdCompressSync(bytes))))
  const buffer = new Uint8Array(Buffer.concat(stored))
  let offset = 0
  const chunks = plains.map((bytes, index): ReceivedChunk => {
    const length = stored[index]!.length
    offset += length
    const codec = index % 2 === 0 ? CODEC.raw : CODEC.zstd
    return { id: keyedHash(idKey, bytes), codec, plainLength: bytes.length, offset: offset - length, length }
  })
  return { buffer: buffer.buffer, chunks, idKey, chunkBytes: CHUNK_BYTES }
}

const compressible = (seed: number): Uint8Array => new Uint8Array(CHUNK_BYTES).fill(seed)

/** The job with one chunk's fields changed. */
const changed = (change: Partial<ReceivedChunk>, at = 1): IngestJob => {
  const job = jobOf([compressible(1), compressible(2)])
  return { ...job, chunks: job.chunks.map((chunk, index) => (index === at ? { ...chunk, ...change } : chunk)) }
}

const refused = (job: IngestJob): void =>
  expect(() => ingest(job)).toThrow(expect.objectContaining({ code: 'CHUNK_INVALID' }))

describe('ingest', () => {
  test('encodes each chunk as a record that parses back', () => {
    const plains = [compressible(1), compressible(2), new Uint8Array(randomBytes(100))]
    const { buffer, records } = ingest(jobOf(plains))
    expect(records.length).toBe(3)
    for (const [index, { offset, id }] of records.entries()) {
      const record = parseRecord(buffer, offset)
      expect([...record.id]).toEqual([...id])
      expect(record.type).toBe(RECORD.chunk)
      const bytes = decode(record.codec, record.stored, record.plainLength)
      expect(Buffer.from(bytes).equals(plains[index]!)).toBe(true)
    }
  })

  test('refuses what is not what it says, and names it', () => {
    const id = new Uint8Array(32).fill(1)
    expect(() => ingest(changed({ id }))).toThrow(
      expect.objectContaining({ code: 'CHUNK_INVALID', details: { id: hex(id) } }),
    )
  })

  test.each<[string, Partial<ReceivedChunk>]>([
    ['a plain length that is too long', { plainLength: CHUNK_BYTES - 1 }],
    ['a plain length that is too short', { plainLength: CHUNK_BYTES + 1 }],
    ['no plain length', { plainLength: 0 }],
    ['a negative offset', { offset: -1 }],
    ['an offset past the buffer', { offset: 2 ** 40 }],
    ['a length past the buffer', { length: 5000 }],
    ['a huge length', { length: 2 ** 52 }],
    ['an infinite length', { length: Number.POSITIVE_INFINITY }],
    ['no length', { length: 0 }],
    ['not a number', { length: Number.NaN }],
    ['half a byte', { length: 0.5 }],
    ['a codec that does not exist', { codec: 7 as 1 }],
    ['the other codec', { codec: CODEC.raw }],
    ['a short id', { id: new Uint8Array(31) }],
    ['an empty id', { id: new Uint8Array(0) }],
  ])('refuses %s', (_, change) => refused(changed(change)))

  test('refuses zstd that would unpack to more than was said, without unpacking it', () => {
    const bomb = new Uint8Array(zstdCompressSync(Buffer.alloc(256 * 1024 * 1024)))
    const chunk = { id: keyedHash(idKey, compressible(0)), codec: CODEC.zstd, plainLength: CHUNK_BYTES, offset: 0 }
    const before = process.memoryUsage().arrayBuffers
    // a whole frame is longer than a chunk may be; its beginning is cut to fit
    for (const length of [bomb.length, CHUNK_BYTES])
      refused({ buffer: bomb.slice().buffer, chunks: [{ ...chunk, length }], idKey, chunkBytes: CHUNK_BYTES })
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024)
  })

  test('refuses one damaged bit, wherever it is', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(7), (at, bit) => {
        const job = jobOf([compressible(1), compressible(2)])
        const bytes = new Uint8Array(job.buffer)
        const offset = at % bytes.length
        bytes[offset]! ^= 1 << bit
        try {
          const { buffer, records } = ingest(job)
          // a bit of the zstd frame that means nothing may differ; the content must still be the chunk
          for (const record of records) plain({ buffer: buffer.buffer, place: record, idKey })
        } catch (error) {
          expect((error as VarveError).code).toBe('CHUNK_INVALID')
        }
      }),
    )
  })

  test('refuses random bytes as zstd', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (bytes) => {
        const stored = Uint8Array.from(bytes)
        const id = keyedHash(idKey, stored)
        const chunk = { id, codec: CODEC.zstd, plainLength: 200, offset: 0, length: stored.length }
        refused({ buffer: stored.buffer, chunks: [chunk], idKey, chunkBytes: CHUNK_BYTES })
      }),
    )
  })
})

const recordOf = (bytes: Uint8Array): { buffer: ArrayBuffer; id: Uint8Array } => {
  const id = keyedHash(idKey, bytes)
  const target = Buffer.from(new ArrayBuffer(recordBytes(bytes.length) + 3))
  writeRecord(target, 3, { id, type: RECORD.chunk, codec: CODEC.raw, plainLength: bytes.length }, bytes)
  return { buffer: target.buffer, id }
}

describe('prove and plain', () => {
  test('give the keyed hash and the bytes of a good record', () => {
    const bytes = compressible(3)
    const { buffer, id } = recordOf(bytes)
    expect(prove({ buffer, places: [{ id, offset: 3 }], idKey, proofKey })).toEqual([keyedHash(proofKey, bytes)])
    expect([...plain({ buffer, place: { id, offset: 3 }, idKey })]).toEqual([...bytes])
  })

  test('a damaged record is null or DATA_DAMAGED with its id, its neighbours are not touched', () => {
    const bytes = compressible(3)
    const { buffer, id } = recordOf(bytes)
    const places = [
      { id, offset: 3 },
      { id, offset: 4 },
      { id: new Uint8Array(32), offset: 3 },
    ]
    expect(prove({ buffer, places, idKey, proofKey })).toEqual([keyedHash(proofKey, bytes), null, null])
    new Uint8Array(buffer)[100]! ^= 1
    expect(prove({ buffer, places, idKey, proofKey })).toEqual([null, null, null])
    expect(() => plain({ buffer, place: places[0]!, idKey })).toThrow(
      expect.objectContaining({ code: 'DATA_DAMAGED', details: { id: hex(id) } }),
    )
  })
})
