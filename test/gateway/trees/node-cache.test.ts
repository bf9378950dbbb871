// The cache of nodes: bounded, the least recently used leaves first, tenants apart.
import { expect, test } from 'vitest'
import { decodeNode, encodeNode } from '../../../protocol/image-tree.ts'
import { NodeCache } from '../../../gateway/trees/node-cache.ts'

const idOf = (index: number): Uint8Array => new Uint8Array(32).fill(index)
const nodeOf = (level: number) => decodeNode(encodeNode(level, [idOf(level)]))

test('holds at most its bound and drops the least recently used', () => {
  const cache = new NodeCache(3)
  for (const index of [1, 2, 3]) cache.set('1', idOf(index), nodeOf(index))
  expect(cache.get('1', idOf(1))).toEqual(nodeOf(1))
  cache.set('1', idOf(4), nodeOf(4))
  expect([1, 2, 3, 4].map((index) => cache.get('1', idOf(index))?.level)).toEqual([1, undefined, 3, 4])
  cache.set('1', idOf(4), nodeOf(4))
  expect(cache.size).toBe(3)
})

test('a node of one tenant is none of another', () => {
  const cache = new NodeCache()
  cache.set('1', idOf(1), nodeOf(1))
  expect(cache.get('2', idOf(1))).toBeUndefined()
})

test('a node that is let go of is gone for its tenant alone', () => {
  const cache = new NodeCache()
  for (const tenant of [1, 2]) cache.set(String(tenant), idOf(1), nodeOf(1))
  cache.delete('1', idOf(1))
  cache.delete('1', idOf(9))
  expect([cache.get('1', idOf(1)), cache.get('2', idOf(1))]).toEqual([undefined, nodeOf(1)])
})
