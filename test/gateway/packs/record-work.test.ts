// The checks on chunks from outside and on records from packs: what is right passes, everything else ends in a typed error.
import { randomBytes } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CODEC, hex } from '../../../protocol/chunk.ts'
import { BUNDLE_HEAD_BYTES, PART_BYTES, readHeads, type Part } from '../../../protocol/chunk-list.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { isOneFrame } from '../../../protocol/zstd-frame.ts'
import { parseRecord, RECORD, recordBytes, writeRecord } from '../../../gateway/packs/format.ts'
import { checkChunks } from '../../../protocol/host/chunk-steps.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import {
  check,
  ingest,
  plain,
  prove,
  recordsOf,
  repack,
  type IngestJob,
  type RecordPlace,
} from '../../../gateway/packs/record-work.ts'
import {
  joinChunks,
  oddFrames,
  rawChunk,
  thievingPairs,
  wireBundle,
  zstdChunk,
  zstdFrame,
  type WireChunk,
} from '../../protocol/wire-chunks.ts'

const idKey = new Uint8Array(randomBytes(32))
const proofKey = new Uint8Array(randomBytes(32))
const CHUNK_BYTES = 4096

/** Of the head of a chunk that is stored alone. */
const HEAD_BYTES = BUNDLE_HEAD_BYTES + PART_BYTES

/** A compressible chunk, in zstd; the content differs by seed. */
const compressible = (seed: number): Uint8Array => new Uint8Array(CHUNK_BYTES).fill(seed)
const zstd = (plain: Uint8Array): WireChunk => zstdChunk(keyedHash(idKey, plain), plain)
const raw = (plain: Uint8Array): WireChunk => rawChunk(keyedHash(idKey, plain), plain)

const jobOf = (...chunks: readonly WireChunk[]): IngestJob => ({
  ...joinChunks(chunks),
  idKey,
  chunkBytes: CHUNK_BYTES,
})

const good = [raw(compressible(1)), zstd(compressible(2)), zstd(compressible(3))] as const

/** A job in which the chunk in the middle is not what it says. */
const changed = (change: Partial<WireChunk>): IngestJob => jobOf(good[0], { ...good[1], ...change }, good[2])

/** The same with the field at an offset of its head overwritten, which no list of chunks can say. */
const rewritten = (offset: number, ...bytes: readonly number[]): IngestJob => {
  const job = jobOf(...good)
  job.heads.set(bytes, HEAD_BYTES + offset)
  return job
}

/** Where the chunks of a job lie once it is encoded. */
const placesOf = ({ heads }: IngestJob): RecordPlace[] =>
  recordsOf(readHeads(heads)).flatMap(({ offset, parts }) => parts.map(({ id }) => ({ id, offset })))

const refused = (job: IngestJob): void =>
  expect(() => ingest(job)).toThrow(expect.objectContaining({ code: 'CHUNK_INVALID' }))

/** The job is refused for this chunk and no other. */
const refusedFor = ({ id }: WireChunk, job: IngestJob): void =>
  expect(() => ingest(job)).toThrow(expect.objectContaining({ code: 'CHUNK_INVALID', details: { id: hex(id) } }))

describe('ingest', () => {
  test('encodes each chunk as a record that parses back, where it is said to be', () => {
    const chunks = [...good, raw(randomBytes(100)), zstd(compressible(4).subarray(0, 500)), raw(compressible(5))]
    const job = jobOf(...chunks)
    const buffer = ingest(job)
    const records = recordsOf(readHeads(job.heads))
    expect(records.length).toBe(chunks.length)
    for (const [index, { offset, ...said }] of records.entries()) {
      const { stored, ...header } = parseRecord(buffer, offset)
      const named = ({ id, plainLength }: Part) => [hex(id), plainLength]
      expect({ ...header, parts: header.parts.map(named) }).toEqual({ ...said, parts: said.parts.map(named) })
      expect(header.type).toBe(RECORD.chunk)
      const { id, codec, plainLength, stored: sent } = chunks[index]!
      expect([header.parts.map(named), header.codec]).toEqual([[[hex(id), plainLength]], codec])
      expect(Buffer.compare(stored, sent)).toBe(0)
    }
    const { offset, storedLength } = records.at(-1)!
    expect(offset + recordBytes(storedLength)).toBe(buffer.length)
  })

  test('refuses what is not what it says, and names it', () => {
    const other = { ...good[1], id: new Uint8Array(32).fill(1) }
    refusedFor(other, jobOf(good[0], other, good[2]))
  })

  test.each<[string, Partial<WireChunk>]>([
    ['a plain length that is too long', { plainLength: CHUNK_BYTES - 1 }],
    ['a plain length that is too short', { plainLength: CHUNK_BYTES + 1 }],
    ['no plain length', { plainLength: 0 }],
    ['a plain length past every chunk', { plainLength: 2 ** 32 - 1 }],
    ['nothing stored', { stored: new Uint8Array(0) }],
    ['more stored than plain', { stored: new Uint8Array(CHUNK_BYTES + 1) }],
    ['a frame cut short', { stored: good[1].stored.subarray(0, -1) }],
    ['a codec that does not exist', { codec: 7 as 1 }],
    ['the other codec', { codec: CODEC.raw }],
  ])('refuses %s', (_, change) => refused(changed(change)))

  test.each(oddFrames(2, CHUNK_BYTES))('refuses a zstd chunk with %s, alone and among others', (_, stored) => {
    const odd = { ...good[1], stored }
    refusedFor(odd, jobOf(odd))
    refusedFor(odd, changed({ stored }))
    // the first that is wrong is named, whatever is wrong behind it
    const other = { ...good[2], id: new Uint8Array(32).fill(1) }
    refusedFor(other, jobOf(good[0], other, odd))
  })

  test.each<[string, IngestJob]>([
    ['a stored length past the bytes', rewritten(2, 0, 0, 15, 255)],
    ['a huge stored length', rewritten(2, 255, 255, 255, 255)],
    ['no stored length', rewritten(2, 0, 0, 0, 0)],
    ['no chunk', jobOf()],
    ['half a head', { ...jobOf(...good), heads: jobOf(...good).heads.subarray(0, -1) }],
    ['a head too few', { ...jobOf(...good), heads: jobOf(...good).heads.subarray(HEAD_BYTES) }],
    ['a byte left over', { ...jobOf(...good), stored: new Uint8Array([...jobOf(...good).stored, 0]) }],
    ['heads in another order', { ...jobOf(...good), heads: jobOf(...good.toReversed()).heads }],
    ['chunks longer than the tenant has', { ...jobOf(...good), chunkBytes: CHUNK_BYTES / 2 }],
  ])('refuses %s', (_, job) => refused(job))

  test('refuses zstd that would unpack to more than was said, without unpacking it', () => {
    const bomb = new Uint8Array(zstdCompressSync(Buffer.alloc(256 * 1024 * 1024)))
    const chunk = { ...zstd(compressible(0)), stored: bomb }
    const before = process.memoryUsage().arrayBuffers
    // a whole frame is longer than a chunk may be; its beginning is cut to fit
    for (const length of [bomb.length, CHUNK_BYTES]) {
      const bad = { ...chunk, stored: bomb.subarray(0, length) }
      refused(jobOf(bad))
      refused(jobOf(good[2], bad, good[1]))
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024)
  })

  test('refuses one damaged bit, wherever it is', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(7), (at, bit) => {
        const job = jobOf(...good)
        job.stored[at % job.stored.length]! ^= 1 << bit
        try {
          const { buffer } = ingest(job)
          // a bit of the zstd frame that means nothing may differ; the content must still be the chunk
          for (const place of placesOf(job)) plain({ buffer, place, idKey })
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
        refused(jobOf({ id: keyedHash(idKey, stored), codec: CODEC.zstd, plainLength: 200, stored }))
      }),
    )
  })
})

describe('neighbours that are decoded together', () => {
  const plains = Array.from({ length: 20 }, (_, seed) => compressible(seed))
  const chunks = plains.map(zstd)
  const withBad = (at: number, bad: WireChunk): IngestJob => jobOf(...chunks.toSpliced(at, 1, bad))

  test('are all taken when all are good', () => {
    expect(isOneFrame(chunks[0]!.stored, CHUNK_BYTES)).toBe(true)
    const job = jobOf(...chunks)
    const { buffer } = ingest(job)
    for (const [index, place] of placesOf(job).entries())
      expect(Buffer.compare(plain({ buffer, place, idKey }), plains[index]!)).toBe(0)
  })

  test('are refused for exactly the one that is bad, wherever it is and whatever is wrong', () => {
    for (const at of [0, 1, 10, 18, 19]) {
      const chunk = chunks[at]!
      const flipped = Uint8Array.from(chunk.stored)
      flipped[flipped.length - 1]! ^= 1
      const wrong: Partial<WireChunk>[] = [
        { id: new Uint8Array(32).fill(200) },
        { stored: zstdFrame(compressible(99)) },
        { stored: flipped },
        { stored: chunk.stored.subarray(0, -1) },
        { codec: CODEC.raw },
      ]
      for (const change of wrong) {
        const bad = { ...chunk, ...change }
        refusedFor(bad, withBad(at, bad))
      }
    }
  })

  test('the first is named when several are bad', () => {
    const [first, second] = [7, 12].map((at) => ({ ...chunks[at]!, id: new Uint8Array(32).fill(100 + at) }))
    refusedFor(first!, jobOf(...chunks.toSpliced(12, 1, second!).toSpliced(7, 1, first!)))
  })

  test('one that brings what belongs to the next is refused, though both together have the right bytes', () => {
    const [a, b] = [Buffer.alloc(1000, 'this'), Buffer.alloc(1000, 'that')]
    const [first, second] = [zstd(a), zstd(b)]
    for (const [one, two] of thievingPairs(a, b)) refusedFor(first, jobOf({ ...first, ...one }, { ...second, ...two }))
    ingest(jobOf(first, second))
  })
})

const recordOf = (bytes: Uint8Array): { buffer: ArrayBuffer; id: Uint8Array } => {
  const id = keyedHash(idKey, bytes)
  const target = Buffer.from(new ArrayBuffer(recordBytes(bytes.length) + 3))
  writeRecord(target, 3, { type: RECORD.chunk, codec: CODEC.raw, parts: [{ id, plainLength: bytes.length }] }, bytes)
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

describe('check', () => {
  const place = (bytes: Uint8Array, id: Uint8Array) => ({
    id,
    offset: 3,
    type: RECORD.chunk,
    codec: CODEC.raw,
    plainLength: bytes.length,
    storedLength: bytes.length,
    parts: 1,
    place: 0,
  })

  test('finds nothing wrong with what is right, and says of each other record what is', () => {
    const bytes = compressible(3)
    const { buffer, id } = recordOf(bytes)
    const good = place(bytes, id)
    expect(check({ buffer, places: [good, good], idKey })).toEqual([null, null])
    const wrong = [
      { ...good, offset: 4 },
      { ...good, id: new Uint8Array(32) },
      { ...good, type: RECORD.node },
      { ...good, codec: CODEC.zstd },
      { ...good, plainLength: bytes.length + 1 },
      { ...good, storedLength: bytes.length - 1 },
    ]
    const reasons = check({ buffer, places: wrong, idKey })
    expect(reasons.map((reason) => typeof reason)).toEqual(wrong.map(() => 'string'))
    // another tenant's key: the checksum is right and the content is not
    expect(check({ buffer, places: [good], idKey: new Uint8Array(32).fill(9) })).toEqual(['its content has another id'])
  })

  test('finds every flipped bit, of compressed records too', () => {
    const bytes = compressible(5)
    const { id, stored } = zstd(bytes)
    const target = Buffer.from(new ArrayBuffer(recordBytes(stored.length)))
    writeRecord(
      target,
      0,
      { type: RECORD.chunk, codec: CODEC.zstd, parts: [{ id, plainLength: bytes.length }] },
      stored,
    )
    const at = { ...place(bytes, id), offset: 0, codec: CODEC.zstd, storedLength: stored.length }
    const { buffer } = target
    expect(check({ buffer, places: [at], idKey })).toEqual([null])
    for (let index = 0; index < target.length; index++) {
      const flipped = Buffer.from(target)
      flipped[index]! ^= 1 << (index % 8)
      const copy = new Uint8Array(flipped).buffer
      expect(check({ buffer: copy, places: [at], idKey })[0]).toBeTypeOf('string')
    }
  })
})

describe('chunks that are stored together', () => {
  const plains = [1, 2, 3, 4].map((seed) => Buffer.concat([Buffer.alloc(3000, seed), randomBytes(1096)]))
  const ids = plains.map((plain) => keyedHash(idKey, plain))
  const bundle = wireBundle(plains.map((plain, index) => [ids[index]!, plain]))
  const record = (): ArrayBuffer => ingest({ ...joinChunks([bundle]), idKey, chunkBytes: CHUNK_BYTES }).buffer
  const placeOf = (place: number) => ({
    id: ids[place]!,
    offset: 0,
    type: RECORD.chunk,
    codec: CODEC.zstd,
    plainLength: 4096,
    storedLength: bundle.stored.length,
    parts: 4,
    place,
  })
  const all = [0, 1, 2, 3].map(placeOf)

  test('are one record, and each of them is there', () => {
    expect(bundle.codec).toBe(CODEC.zstd)
    expect(record().byteLength).toBe(recordBytes(bundle.stored.length, 4))
    for (const [index, id] of ids.entries())
      expect(Buffer.compare(plain({ buffer: record(), place: { id, offset: 0 }, idKey }), plains[index]!)).toBe(0)
    expect(prove({ buffer: record(), places: all, idKey, proofKey })).toEqual(
      plains.map((bytes) => keyedHash(proofKey, bytes)),
    )
    expect(check({ buffer: record(), places: all, idKey })).toEqual([null, null, null, null])
  })

  test('are checked each against its own place', () => {
    const [first] = all
    const wrong = [
      { ...first!, place: 1 },
      { ...first!, place: 4 },
      { ...first!, parts: 3 },
      { ...first!, id: ids[1]! },
    ]
    expect(check({ buffer: record(), places: [...wrong, first!], idKey })).toEqual([
      ...wrong.map(() => 'it is not the record that the index names'),
      null,
    ])
  })

  test('are all damaged where one bit of their record is', () => {
    const bytes = new Uint8Array(record())
    bytes[bytes.length - 9]! ^= 4
    const { buffer } = bytes
    expect(check({ buffer, places: all, idKey }).every((reason) => reason !== null)).toBe(true)
    expect(prove({ buffer, places: all, idKey, proofKey })).toEqual([null, null, null, null])
    const job = { records: [{ record: bytes, picks: [[0]] }] }
    expect(() => repack(job)).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }))
  })

  test('are refused where one of them is not what it says', () => {
    const parts = bundle.parts.with(2, { id: new Uint8Array(32).fill(1), plainLength: 4096 })
    const job = { ...joinChunks([{ ...bundle, parts }]), idKey, chunkBytes: CHUNK_BYTES }
    expect(() => ingest(job)).toThrow(
      expect.objectContaining({ code: 'CHUNK_INVALID', details: { id: hex(parts[2]!.id) } }),
    )
    for (const lengths of [
      [4096, 4096, 4096, 4095],
      [4096, 4096, 8192],
      [4095, 4097, 4096, 4096],
    ]) {
      const other = lengths.map((plainLength, index) => ({ id: ids[index]!, plainLength }))
      refused({ ...joinChunks([{ ...bundle, parts: other }]), idKey, chunkBytes: 8192 })
    }
  })

  test('are stored anew without those that are not wanted', () => {
    const picks = [[2, 3], [0], [0, 3]]
    const { heads: table, stored } = repack({ records: [{ record: new Uint8Array(record()), picks }] })
    const heads = readHeads(table)
    expect(heads.map(({ parts }) => parts.map(({ id }) => hex(id)))).toEqual([
      [hex(ids[2]!), hex(ids[3]!)],
      [hex(ids[0]!)],
      [hex(ids[0]!), hex(ids[3]!)],
    ])
    const taken: Buffer[] = []
    const take = (bytes: Uint8Array): void => void taken.push(Buffer.from(bytes))
    checkChunks(heads, stored, { idKey, take, refusal: () => new VarveError('INTERNAL', 'refused') })
    const wanted = picks.flat().map((place) => plains[place]!)
    expect(Buffer.concat(taken).equals(Buffer.concat(wanted))).toBe(true)
  })
})
