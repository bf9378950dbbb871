// Maps of images: exact against a model for disks of any sizes, in as many steps as it takes.
import { expect, test } from 'vitest'
import { mapOf } from '../../../agent/export/extents.ts'
import { testDice } from '../../support/seed.ts'
import { CHUNK_BYTES, treeOf } from './memory-tree.ts'

/** Whether each chunk differs, asked in steps of so many extents. */
const mapped = async (now: Buffer, before: Buffer | null, limit: number): Promise<boolean[]> => {
  const tree = treeOf(now)
  const other = before === null ? null : treeOf(before)
  const chunks: boolean[] = []
  for (let at = 0; at < now.length;) {
    const extents = await mapOf({ tree, other, chunkBytes: CHUNK_BYTES, offset: at, length: now.length - at, limit })
    expect(extents.length).toBeGreaterThan(0)
    expect(extents.length).toBeLessThanOrEqual(limit)
    for (const [index, { length, differs }] of extents.entries()) {
      if (index > 0) expect(extents[index - 1]!.differs).toBe(!differs)
      for (let chunk = 0; chunk < Math.ceil(length / CHUNK_BYTES); chunk++) chunks.push(differs)
      at += length
    }
    expect(at).toBeLessThanOrEqual(now.length)
  }
  return chunks
}

const chunkAt = (bytes: Buffer, chunk: number): Buffer => bytes.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES)

test('what is zero and what differs is told exactly, between disks of any sizes', async () => {
  const dice = testDice()
  for (let round = 0; round < 8; round++) {
    const size = 1 + dice.below([3, 60, 300, 4500][round % 4]! * CHUNK_BYTES)
    const now = Buffer.alloc(size)
    for (let runs = 0; runs < 20; runs++) {
      const at = dice.below(size)
      now.fill(1 + dice.below(255), at, Math.min(size, at + dice.below(40 * CHUNK_BYTES)))
    }
    const before = Buffer.alloc(1 + dice.below(2 * size))
    now.copy(before)
    for (let changes = 0; changes < 10; changes++) before[dice.below(before.length)]! ^= 1
    const chunks = Array.from({ length: Math.ceil(size / CHUNK_BYTES) }, (_, chunk) => chunk)
    const limit = 1 + dice.below(50)
    const zeroes = chunks.map((chunk) => chunkAt(now, chunk).every((byte) => byte === 0))
    expect(await mapped(now, null, limit)).toEqual(zeroes.map((zero) => !zero))
    const differs = chunks.map((chunk) => {
      const old = chunkAt(before, chunk)
      const isZero = old.every((byte) => byte === 0)
      return zeroes[chunk] && isZero ? false : !chunkAt(now, chunk).equals(old)
    })
    expect(await mapped(now, before, limit)).toEqual(differs)
  }
})

test('a map begins and ends within chunks', async () => {
  const bytes = Buffer.alloc(3 * CHUNK_BYTES)
  bytes[CHUNK_BYTES] = 1
  const request = { tree: treeOf(bytes), other: null, chunkBytes: CHUNK_BYTES, limit: 9 }
  expect(await mapOf({ ...request, offset: 100, length: CHUNK_BYTES })).toEqual([
    { length: CHUNK_BYTES - 100, differs: false },
    { length: 100, differs: true },
  ])
})

test('what cannot be told fails where it is asked for first, and ends a map before', async () => {
  const bytes = Buffer.alloc(200 * CHUNK_BYTES, 1)
  const whole = treeOf(bytes)
  const tree = {
    ...whole,
    node: async (level: number, position: number) => {
      if (level === 0 && position >= 64) throw new Error('lost')
      return await whole.node(level, position)
    },
  }
  const request = { tree, other: null, chunkBytes: CHUNK_BYTES, limit: 9 }
  expect(await mapOf({ ...request, offset: 0, length: bytes.length })).toEqual([
    { length: 64 * CHUNK_BYTES, differs: true },
  ])
  await expect(mapOf({ ...request, offset: 64 * CHUNK_BYTES, length: CHUNK_BYTES })).rejects.toThrow('lost')
})
