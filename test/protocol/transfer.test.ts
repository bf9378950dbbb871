// Messages of uploads and downloads: bounds that a count or a length must keep.
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { CHUNK_BYTES_MAX, type Codec } from '../../protocol/chunk.ts'
import { FRAME_BYTES_MAX, FRAME_CHUNKS_MAX, UPLOAD_IDS_MAX, UPLOAD_RUNS_MAX } from '../../protocol/limits.ts'
import { chunking, downloadDown, LOAD, RUN, UP, uploadUp } from '../../protocol/transfer.ts'
import { chunksMessage, rawChunk } from './wire-chunks.ts'

const ID = new Uint8Array(32)
const many = (count: number, item: unknown): unknown[] => Array.from({ length: count }, () => item)
const takes = (schema: v.GenericSchema, value: unknown): boolean => v.safeParse(schema, value).success
const ids = (bytes: number): unknown => [UP.runs, [[RUN.ids, new Uint8Array(bytes)]]]
const chunk = (plainLength: number, storedLength: number, codec = 0): unknown =>
  chunksMessage(UP.chunks, { id: ID, codec: codec as Codec, plainLength, stored: new Uint8Array(storedLength) })

describe('runs', () => {
  test('are positive, within the largest disk, and as many as a message holds', () => {
    expect(takes(uploadUp, [UP.runs, [[RUN.zero, 2 ** 36]]])).toBe(true)
    for (const count of [0, -1, 1.5, 2 ** 36 + 1]) expect(takes(uploadUp, [UP.runs, [[RUN.zero, count]]])).toBe(false)
    expect(takes(uploadUp, [UP.runs, many(UPLOAD_RUNS_MAX, [RUN.keep, 1])])).toBe(true)
    expect(takes(uploadUp, [UP.runs, many(UPLOAD_RUNS_MAX + 1, [RUN.keep, 1])])).toBe(false)
    expect(takes(uploadUp, [UP.runs, []])).toBe(false)
    expect(takes(uploadUp, [UP.runs, [[3, 1]]])).toBe(false)
  })

  test('ids are whole, at least one, and as many as a message holds', () => {
    expect(takes(uploadUp, ids(32))).toBe(true)
    expect(takes(uploadUp, ids(UPLOAD_IDS_MAX * 32))).toBe(true)
    for (const bytes of [0, 31, 33, (UPLOAD_IDS_MAX + 1) * 32]) expect(takes(uploadUp, ids(bytes))).toBe(false)
  })
})

describe('chunks', () => {
  test('have a known codec and lengths of at most a chunk', () => {
    expect(takes(uploadUp, chunk(CHUNK_BYTES_MAX, CHUNK_BYTES_MAX))).toBe(true)
    expect(takes(uploadUp, chunk(1, 1, 1))).toBe(true)
    expect(takes(uploadUp, chunk(1, 0, 1))).toBe(false)
    expect(takes(uploadUp, chunk(CHUNK_BYTES_MAX + 1, 1))).toBe(false)
    expect(takes(uploadUp, chunk(0, 1))).toBe(false)
    expect(takes(uploadUp, chunk(1, CHUNK_BYTES_MAX + 1))).toBe(false)
    expect(takes(uploadUp, chunk(1, 1, 2))).toBe(false)
  })

  test('are at least one and at most FRAME_CHUNKS_MAX, up and down', () => {
    const some = (count: number) => Array.from({ length: count }, () => rawChunk(ID, new Uint8Array(1)))
    for (const [schema, kind] of [
      [uploadUp, UP.chunks],
      [downloadDown, LOAD.chunks],
    ] as const) {
      expect(takes(schema, chunksMessage(kind, ...some(FRAME_CHUNKS_MAX)))).toBe(true)
      expect(takes(schema, chunksMessage(kind, ...some(FRAME_CHUNKS_MAX + 1)))).toBe(false)
      expect(takes(schema, chunksMessage(kind))).toBe(false)
    }
  })

  test('have a table that fits their bytes, and no more bytes than a frame', () => {
    for (const [schema, kind] of [
      [uploadUp, UP.chunks],
      [downloadDown, LOAD.chunks],
    ] as const) {
      const [, heads, stored] = chunksMessage(kind, rawChunk(ID, new Uint8Array(100)), rawChunk(ID, new Uint8Array(7)))
      expect(takes(schema, [kind, heads, stored])).toBe(true)
      expect(takes(schema, [kind, heads, stored.subarray(1)])).toBe(false)
      expect(takes(schema, [kind, heads.subarray(1), stored])).toBe(false)
      expect(takes(schema, [kind, heads.subarray(41), stored])).toBe(false)
      expect(takes(schema, [kind, [...heads], stored])).toBe(false)
      expect(takes(schema, [kind, heads])).toBe(false)
      expect(takes(schema, [kind, stored, heads])).toBe(false)
      const large = rawChunk(ID, new Uint8Array(CHUNK_BYTES_MAX))
      const tooMany = Array.from({ length: FRAME_BYTES_MAX / CHUNK_BYTES_MAX }, () => large)
      expect(takes(schema, chunksMessage(kind, ...tooMany))).toBe(true)
      expect(takes(schema, chunksMessage(kind, ...tooMany, rawChunk(ID, new Uint8Array(1))))).toBe(false)
    }
  })
})

test('proofs are at most as many as ids', () => {
  expect(takes(uploadUp, [UP.proofs, many(UPLOAD_IDS_MAX, [ID, ID])])).toBe(true)
  expect(takes(uploadUp, [UP.proofs, many(UPLOAD_IDS_MAX + 1, [ID, ID])])).toBe(false)
})

test('a tenant has chunks from 4 KiB to 4 MiB', () => {
  for (const chunkBytes of [4096, 65_536, CHUNK_BYTES_MAX])
    expect(takes(chunking, { idKey: ID, chunkBytes })).toBe(true)
  for (const chunkBytes of [0, 4095, CHUNK_BYTES_MAX + 1])
    expect(takes(chunking, { idKey: ID, chunkBytes })).toBe(false)
})
