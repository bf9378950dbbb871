// Skims of packs: the heads of all records for a part of the bytes, and every whole record where something is damaged.
import { randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { CODEC } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { encodePackHeader, PACK_HEADER_BYTES, RECORD, recordBytes, writeRecord } from '../../../gateway/packs/format.ts'
import { skimPack } from '../../../gateway/packs/pack-skim.ts'
import { codeOf } from '../auth/test-authority.ts'

const name = { tenant: randomUUID(), pack: randomUUID() }
const HEADER = encodePackHeader({ kind: 'data', ...name })

const recordOf = (id: Uint8Array, length: number): Buffer => {
  const bytes = Buffer.alloc(recordBytes(length))
  const stored = randomBytes(length)
  writeRecord(bytes, 0, { type: RECORD.chunk, codec: CODEC.raw, parts: [{ id, plainLength: length }] }, stored)
  return bytes
}

const packOf = (lengths: readonly number[]) => {
  const ids = lengths.map(() => new Uint8Array(randomBytes(32)))
  const records = lengths.map((length, index) => recordOf(ids[index]!, length))
  const offsets = records.map((_, index) =>
    records.slice(0, index).reduce((sum, { length }) => sum + length, PACK_HEADER_BYTES),
  )
  return { ids, offsets, bytes: Buffer.concat([HEADER, ...records]) }
}

const skim = async (
  bytes: Buffer,
  readGapBytes = 64 * 1024,
): Promise<{ heads: { id: Buffer; offset: number }[]; readBytes: number; reads: number }> => {
  let readBytes = 0
  let reads = 0
  const store = {
    costs: { concurrency: 1, readGapBytes },
    size: async () => bytes.length,
    read: async (_: unknown, offset: number, length: number) => {
      reads++
      readBytes += length
      if (offset + length > bytes.length) throw new VarveError('DATA_DAMAGED', 'the pack ends before')
      return new Uint8Array(bytes.subarray(offset, offset + length))
    },
  }
  const heads: { id: Buffer; offset: number }[] = []
  for await (const { id, offset } of skimPack(store, name)) heads.push({ id: Buffer.from(id), offset })
  return { heads, readBytes, reads }
}

const LENGTHS = [60_000, 100, 2000, 2000, 2000, 30_000, 1, 65_536, 4000]

test('gives every head, and reads little of what is between them', async () => {
  const { ids, offsets, bytes } = packOf(LENGTHS)
  const { heads, readBytes } = await skim(bytes)
  expect(heads).toEqual(ids.map((id, index) => ({ id: Buffer.from(id), offset: offsets[index] })))
  expect(readBytes).toBeLessThan(bytes.length / 3)
  expect((await skim(packOf([]).bytes)).heads).toEqual([])
})

test('where requests are dear it reads on through the pack', async () => {
  const { ids, bytes } = packOf(LENGTHS)
  const { heads, reads } = await skim(bytes, 1024 * 1024)
  expect([heads.length, reads]).toEqual([ids.length, 1])
})

test('where a head is damaged, or leads astray, whole records behind it are found all the same', async () => {
  for (const at of [0, 10, 45, 49]) {
    const { ids, offsets, bytes } = packOf(LENGTHS)
    bytes[offsets[2]! + at]! ^= 0x20
    const named = new Set((await skim(bytes)).heads.map(({ id, offset }) => `${id.toString('hex')} ${offset}`))
    for (const [index, id] of ids.entries())
      if (index !== 2) expect(named).toContain(`${Buffer.from(id).toString('hex')} ${offsets[index]}`)
  }
})

test('a torn end hides nothing before it; a pack that is not there is said to be so', async () => {
  const { ids, bytes } = packOf(LENGTHS)
  const { heads } = await skim(bytes.subarray(0, bytes.length - 10))
  expect(new Set(heads.map(({ id }) => id.toString('hex'))).size).toBeGreaterThanOrEqual(ids.length - 1)
  const costs = { concurrency: 1, readGapBytes: 0 }
  const gone = { costs, size: async () => null, read: async () => Promise.reject(new VarveError('NOT_FOUND', 'gone')) }
  const all = async (): Promise<void> => {
    for await (const _ of skimPack(gone, name)) throw new Error('there is nothing')
  }
  expect(await codeOf(all())).toBe('NOT_FOUND')
})
