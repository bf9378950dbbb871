// The compact map of ids against a plain Map.
import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { Fingerprints } from '../../../gateway/trees/fingerprints.ts'

const idOf = (n: number): Uint8Array => new Uint8Array(createHash('sha256').update(String(n)).digest())

test('holds what a map holds, over many growths', () => {
  const table = new Fingerprints()
  const model = new Map<number, number>()
  for (let n = 0; n < 20_000; n++) {
    const key = (n * 7919) % 13_000
    const value = ((n * 2_654_435_761) % 0xffff_fffe) + 1
    table.set(idOf(key), value)
    model.set(key, value)
  }
  expect(table.size).toBe(model.size)
  for (const [key, value] of model) expect(table.get(idOf(key))).toBe(value)
  for (let n = 13_000; n < 14_000; n++) expect(table.has(idOf(n))).toBe(false)
  const odd = [...model.values()].filter((value) => value % 2 === 1).length
  expect(table.count((_, value) => value % 2 === 1)).toBe(odd)
  const low = [...model.keys()].filter((key) => idOf(key)[0]! < 16).length
  expect(table.count((firstByte) => firstByte < 16)).toBe(low)
})

test('add tells what is new, and keeps what was set', () => {
  const table = new Fingerprints()
  table.set(idOf(1), 0xffff_ffff)
  expect(table.add(idOf(1))).toBe(false)
  expect(table.get(idOf(1))).toBe(0xffff_ffff)
  expect(table.add(idOf(2))).toBe(true)
  expect(table.add(idOf(2))).toBe(false)
  expect(table.size).toBe(2)
})

test('takes views of larger buffers, and ids whose first bytes are all zero or all ones', () => {
  const table = new Fingerprints()
  const buffer = Buffer.concat([idOf(1), idOf(2), Buffer.alloc(32), Buffer.alloc(32, 0xff)])
  for (let at = 0; at < buffer.length; at += 32) table.set(buffer.subarray(at, at + 32), at + 1)
  expect(table.get(idOf(2))).toBe(33)
  expect(table.get(new Uint8Array(32))).toBe(65)
  expect(table.get(new Uint8Array(32).fill(0xff))).toBe(97)
})

test('ids that begin alike are told apart', () => {
  const table = new Fingerprints()
  const ids = Array.from({ length: 2000 }, (_, n) =>
    Uint8Array.of(...new Uint8Array(16).fill(7), ...idOf(n).subarray(16)),
  )
  for (const [n, id] of ids.entries()) table.set(id, n + 1)
  expect(table.size).toBe(2000)
  for (const [n, id] of ids.entries()) expect(table.get(id)).toBe(n + 1)
  // one bit anywhere is enough
  const [first] = ids
  for (let bit = 0; bit < 256; bit++) {
    const other = Uint8Array.from(first!)
    other[bit >> 3]! ^= 1 << (bit & 7)
    expect(table.has(other)).toBe(false)
  }
})
