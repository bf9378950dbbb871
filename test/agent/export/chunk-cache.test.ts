// The cache in memory: the least recently used go first, together, and nothing is used again while it is read.
import { expect, test } from 'vitest'
import { ChunkCache } from '../../../agent/export/chunk-cache.ts'

const chunksOf = (bytes: number, ...names: string[]): Map<string, Uint8Array> => {
  const buffer = new Uint8Array(bytes * names.length)
  return new Map(names.map((name, index) => [name, buffer.subarray(index * bytes, (index + 1) * bytes)]))
}

test('what was fetched together goes together, the least recently used first', () => {
  const freed: number[] = []
  const cache = new ChunkCache(100, ({ byteLength }) => void freed.push(byteLength))
  cache.add(chunksOf(20, 'a', 'b'), () => 0)
  cache.add(chunksOf(25, 'c', 'd'), () => 0)
  cache.release(cache.take('a')!)
  cache.add(chunksOf(30, 'e'), () => 0)
  expect(['a', 'b', 'c', 'd', 'e'].map((name) => cache.has(name))).toEqual([true, true, false, false, true])
  expect(freed).toEqual([50])
  expect(cache.bytes).toBe(70)
})

test('a buffer is free when its last reader has released it', () => {
  const freed: number[] = []
  const cache = new ChunkCache(10, ({ byteLength }) => void freed.push(byteLength))
  const held = cache.add(chunksOf(20, 'a', 'b'), (name) => (name === 'a' ? 2 : 1))
  expect(cache.take('a')).toBeNull()
  cache.release(held.get('a')!)
  cache.release(held.get('b')!)
  expect(freed).toEqual([])
  cache.release(held.get('a')!)
  expect(freed).toEqual([40])
})
