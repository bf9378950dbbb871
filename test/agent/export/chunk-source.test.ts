// Chunks as readers hold them: what slow readers keep is bounded, however little of each buffer they read.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { ChunkCache } from '../../../agent/export/chunk-cache.ts'
import { ChunkSource, type Piece } from '../../../agent/export/chunk-source.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { decodeNode, encodeNode, FAN_OUT } from '../../../protocol/image-tree.ts'
import { UP } from '../../../protocol/methods.ts'
import { chunksMessage, wireChunk } from '../../protocol/wire-chunks.ts'

const CHUNK_BYTES = 4096
const LEAF_BYTES = FAN_OUT * CHUNK_BYTES
const ID_KEY = new Uint8Array(32).fill(5)

const sourceOf = (bytes: Buffer, cacheBytes: number): ChunkSource => {
  const plainAt = (position: number): Buffer => bytes.subarray(position * CHUNK_BYTES, (position + 1) * CHUNK_BYTES)
  const ids = Array.from({ length: bytes.length / CHUNK_BYTES }, (_, at) => keyedHash(ID_KEY, plainAt(at)))
  const asked: [Uint8Array, number, number][] = []
  return new ChunkSource({
    reads: {
      chunks: async (from, count) => {
        const sent = Array.from({ length: count }, (_, at) => wireChunk(ids[from + at]!, plainAt(from + at)))
        const [, heads, stored] = chunksMessage(UP.chunks, ...sent)
        asked.push([heads, from, count])
        return { heads, stored }
      },
    },
    tree: {
      node: async (level, position) => {
        const from = Math.floor(position / FAN_OUT) * FAN_OUT
        return decodeNode(encodeNode(level, ids.slice(from, from + FAN_OUT)))
      },
    },
    decoder: {
      decode: async (_, heads) => {
        const [, from, count] = asked.find(([one]) => one === heads)!
        return new Uint8Array(bytes.subarray(from * CHUNK_BYTES, (from + count) * CHUNK_BYTES))
      },
      release: () => {},
    },
    cache: new ChunkCache(cacheBytes, () => {}),
    cacheBytes,
    disk: null,
    idKey: ID_KEY,
    size: bytes.length,
    chunkBytes: CHUNK_BYTES,
    onReceived: () => {},
  })
}

test('readers that release nothing keep a bounded part of what was fetched, and read what is there', async () => {
  const leaves = 40
  const bytes = randomBytes(leaves * LEAF_BYTES)
  const cacheBytes = 4 * LEAF_BYTES
  const source = sourceOf(bytes, cacheBytes)
  const kept: Piece[] = []
  for (let at = 0; at < bytes.length; at += LEAF_BYTES) {
    for await (const piece of source.read(at, LEAF_BYTES)) piece.release()
    const reading = source.read(at + CHUNK_BYTES, 10)
    kept.push((await reading.next()).value as Piece)
  }
  const buffers = new Set(kept.map((piece) => piece.bytes!.buffer))
  const keptBytes = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0)
  expect(keptBytes).toBeLessThanOrEqual(3 * cacheBytes)
  for (const [index, piece] of kept.entries()) {
    const at = index * LEAF_BYTES + CHUNK_BYTES
    expect(Buffer.from(piece.bytes!)).toEqual(bytes.subarray(at, at + 10))
    piece.release()
  }
  // all was released, and nothing is copied any more
  const [again] = [(await source.read(0, 10).next()).value as Piece]
  expect(again.bytes!.buffer.byteLength).toBeGreaterThan(10)
})
