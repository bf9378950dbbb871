// Scans of packs: whatever is damaged, every whole record is found and none is made up.
import { randomBytes, randomUUID } from 'node:crypto'
import { truncate } from 'node:fs/promises'
import path from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CODEC } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { DirectoryPackStore } from '../../../gateway/packs/directory/directory-pack-store.ts'
import {
  encodePackHeader,
  PACK_HEADER_BYTES,
  RECORD,
  RECORD_PLAIN_BYTES_MAX,
  recordBytes,
  writeRecord,
} from '../../../gateway/packs/format.ts'
import { readPackHeader, scanPack, type ScanOptions } from '../../../gateway/packs/pack-scan.ts'
import { temporaryFolder } from '../datastore/fixture.ts'

const name = { tenant: randomUUID(), pack: randomUUID() }
const HEADER = encodePackHeader({ kind: 'data', ...name })

/** A pack that is only memory; `badBlocks` are offsets below which 4096 bytes cannot be read. */
const memoryPack = (bytes: Uint8Array, badBlocks: readonly number[] = []) => {
  const reads: number[] = []
  return {
    reads,
    size: async () => bytes.length,
    read: async (_: unknown, offset: number, length: number) => {
      reads.push(length)
      if (badBlocks.some((bad) => bad < offset + length && bad + 4096 > offset))
        throw new VarveError('STORE_FAILED', 'reading a pack failed: EIO')
      if (offset + length > bytes.length) throw new VarveError('DATA_DAMAGED', 'the pack ends before')
      return new Uint8Array(bytes.subarray(offset, offset + length))
    },
  }
}

const recordOf = (stored: Uint8Array, id: Uint8Array = randomBytes(32)): Buffer => {
  const bytes = Buffer.alloc(recordBytes(stored.length))
  writeRecord(bytes, 0, { type: RECORD.chunk, codec: CODEC.raw, parts: [{ id, plainLength: stored.length }] }, stored)
  return bytes
}

interface Seen {
  readonly records: { offset: number; bytes: Buffer; found: boolean }[]
  readonly gaps: { offset: number; length: number; problem: string }[]
}

const scan = async (store: Parameters<typeof scanPack>[0], options: ScanOptions = {}): Promise<Seen> => {
  const seen: Seen = { records: [], gaps: [] }
  for await (const item of scanPack(store, name, options)) {
    if ('header' in item) seen.records.push({ offset: item.offset, bytes: Buffer.from(item.bytes), found: item.found })
    else seen.gaps.push(item)
  }
  return seen
}

/** Records and gaps cover the pack once, without overlap. */
const expectWhole = ({ records, gaps }: Seen, end: number): void => {
  const parts = [
    ...records.map(({ offset, bytes }) => ({ offset, length: bytes.length })),
    ...gaps.map(({ offset, length }) => ({ offset, length })),
  ].sort((a, b) => a.offset - b.offset)
  let at = PACK_HEADER_BYTES
  for (const { offset, length } of parts) {
    expect(offset).toBe(at)
    at += length
  }
  expect(at).toBe(end)
}

const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 400 }), { minLength: 1, maxLength: 30 })
const damages = fc.array(fc.record({ at: fc.nat(2 ** 20), bytes: fc.uint8Array({ minLength: 1, maxLength: 60 }) }), {
  maxLength: 4,
})

describe('scan', () => {
  test('random records with random damage: every undamaged one is found, none is made up', async () => {
    await fc.assert(
      fc.asyncProperty(pieces, damages, fc.nat(500), async (stored, hits, cut) => {
        const records = stored.map((one) => recordOf(one))
        const whole = Buffer.concat([HEADER, ...records])
        const pack = Buffer.from(whole.subarray(0, Math.max(PACK_HEADER_BYTES, whole.length - cut)))
        for (const { at, bytes } of hits) {
          const offset = PACK_HEADER_BYTES + (at % Math.max(1, pack.length - PACK_HEADER_BYTES))
          pack.set(bytes.subarray(0, pack.length - offset), offset)
        }
        const expected: number[] = []
        let offset = PACK_HEADER_BYTES
        for (const record of records) {
          if (pack.subarray(offset, offset + record.length).equals(record)) expected.push(offset)
          offset += record.length
        }
        const seen = await scan(memoryPack(pack))
        expect(seen.records.map((record) => record.offset)).toEqual(expected)
        for (const record of seen.records)
          expect(record.bytes.equals(pack.subarray(record.offset, record.offset + record.bytes.length))).toBe(true)
        expectWhole(seen, pack.length)
      }),
      { numRuns: 300 },
    )
  })

  test('random bytes and magics in any number end in gaps', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.constant(Buffer.from('VREC')), fc.uint8Array({ maxLength: 80 })), { maxLength: 40 }),
        async (parts) => {
          const pack = Buffer.concat([HEADER, ...parts])
          const seen = await scan(memoryPack(pack))
          expect(seen.records).toEqual([])
          expectWhole(seen, pack.length)
        },
      ),
    )
  })

  test('large records are read in pieces, and a magic across two pieces is found', async () => {
    const large = recordOf(new Uint8Array(RECORD_PLAIN_BYTES_MAX))
    const last = recordOf(new Uint8Array(100))
    const broken = Buffer.from(large)
    broken[5000] = 1
    // the magic of the last record begins two bytes before the end of the first search's piece
    const pack = Buffer.concat([HEADER, large, broken, Buffer.alloc(recordBytes(RECORD_PLAIN_BYTES_MAX) - 1), last])
    const store = memoryPack(pack)
    const seen = await scan(store)
    expect(seen.records.map(({ bytes, found }) => [bytes.length, found])).toEqual([
      [large.length, false],
      [last.length, true],
    ])
    expect(seen.gaps).toHaveLength(1)
    expectWhole(seen, pack.length)
    expect(Math.max(...store.reads)).toBe(recordBytes(RECORD_PLAIN_BYTES_MAX))
  })

  test('what looks like a record inside a damaged one is marked as found', async () => {
    const inner = recordOf(new Uint8Array(50).fill(3))
    const outer = recordOf(Buffer.concat([Buffer.alloc(64), inner, Buffer.alloc(64)]))
    const good = recordOf(new Uint8Array(9))
    const pack = Buffer.concat([HEADER, good, outer, good])
    expect((await scan(memoryPack(pack))).records.map(({ found }) => found)).toEqual([false, false, false])
    pack[PACK_HEADER_BYTES + good.length + recordBytes(0) + 10] = 1
    const seen = await scan(memoryPack(pack))
    expect(seen.records.map(({ found }) => found)).toEqual([false, true, true])
    expectWhole(seen, pack.length)
  })

  test('content made of records that all claim megabytes ends the search, not the program', async () => {
    const fake = recordOf(new Uint8Array(RECORD_PLAIN_BYTES_MAX)).subarray(0, recordBytes(0))
    fake[4] = ~fake[4]! & 0xff
    const copies = Buffer.concat(Array.from({ length: 20_000 }, () => fake))
    const pack = Buffer.concat([HEADER, copies, Buffer.alloc(2 * RECORD_PLAIN_BYTES_MAX)])
    const store = memoryPack(pack)
    const seen = await scan(store)
    expect(seen.records).toEqual([])
    expectWhole(seen, pack.length)
    expect(store.reads.length).toBeLessThan(600)
  })

  test('blocks that cannot be read are a gap that says so, or an error', async () => {
    const records = Array.from({ length: 20 }, (_, index) => recordOf(new Uint8Array(3000).fill(index)))
    const pack = Buffer.concat([HEADER, ...records])
    const store = memoryPack(pack, [20_000])
    await expect(scan(store)).rejects.toMatchObject({ code: 'STORE_FAILED' })
    const seen = await scan(store, { skipUnreadable: true })
    expect(seen.gaps).toHaveLength(1)
    expect(seen.gaps[0]!.problem).toContain('EIO')
    expect(seen.gaps[0]!.length).toBeLessThanOrEqual(4 * 3052)
    expect(seen.records.length).toBeGreaterThanOrEqual(16)
    expectWhole(seen, pack.length)
  })

  test('only the range asked for; what the pack lacks of it is a gap', async () => {
    const records = [1, 2, 3].map((fill) => recordOf(new Uint8Array(10).fill(fill)))
    const pack = Buffer.concat([HEADER, ...records])
    const from = PACK_HEADER_BYTES + records[0]!.length
    const some = await scan(memoryPack(pack), { from, to: from + records[1]!.length })
    expect(some).toMatchObject({ records: [{ offset: from }], gaps: [] })
    const more = await scan(memoryPack(pack), { from, to: pack.length + 7 })
    expect(more.records).toHaveLength(2)
    expect(more.gaps).toEqual([{ offset: pack.length, length: 7, problem: 'the pack is shorter' }])
    const empty = await scan(memoryPack(Buffer.from('VAR')), { to: 100 })
    expect(empty.gaps).toEqual([{ offset: PACK_HEADER_BYTES, length: 52, problem: 'the pack is shorter' }])
  })

  test('ends with the reason of its signal', async () => {
    const signal = AbortSignal.abort(new VarveError('CANCELLED', 'enough'))
    await expect(scan(memoryPack(Buffer.concat([HEADER, recordOf(HEADER)])), { signal })).rejects.toMatchObject({
      code: 'CANCELLED',
    })
  })
})

describe('of a directory', () => {
  test('a pack that was cut short, one that is gone, and headers', async () => {
    await using folder = await temporaryFolder()
    await using store = await DirectoryPackStore.open(path.join(folder.path, 'packs'))
    const records = [1, 2].map((fill) => recordOf(new Uint8Array(1000).fill(fill)))
    {
      await using file = await store.create(name, HEADER)
      for (const record of records) await file.append(record)
    }
    const file = path.join(folder.path, 'packs', name.tenant, name.pack.slice(0, 2), `${name.pack}.pack`)
    await truncate(file, PACK_HEADER_BYTES + records[0]!.length + 60)
    const seen = await scan(store)
    expect(seen.records).toHaveLength(1)
    expect(seen.gaps).toMatchObject([{ length: 60, problem: 'a record is cut short' }])
    expect(await readPackHeader(store, name)).toEqual({ kind: 'data', ...name })
    const gone = { tenant: name.tenant, pack: randomUUID() }
    await expect(readPackHeader(store, gone)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(scanPack(store, gone).next()).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await (await store.create(gone, HEADER))[Symbol.asyncDispose]()
    await expect(readPackHeader(store, gone)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
  })
})
