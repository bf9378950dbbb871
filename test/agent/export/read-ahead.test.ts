// Readers are told apart by where they go on, and only what is read in order is fetched ahead of.
import { expect, test } from 'vitest'
import { ReadAhead } from '../../../agent/export/read-ahead.ts'
import { KIB, MIB } from '../../support/model-machine.ts'

test('two readers in turn are each fetched ahead of, all of it once, within the window', () => {
  const ahead = new ReadAhead(4 * MIB)
  const fetched = [0, 100 * MIB].map((start) => ({ start, ranges: [] as [number, number][] }))
  for (let read = 0; read < 200; read++)
    for (const { start, ranges } of fetched) {
      const at = start + read * 128 * KIB
      const range = ahead.note(at, 128 * KIB)
      if (range === null) continue
      ranges.push([range.offset, range.offset + range.length])
      expect(range.offset + range.length).toBeLessThanOrEqual(at + 128 * KIB + 4 * MIB)
    }
  for (const { ranges } of fetched) {
    expect(ranges.length).toBeGreaterThan(5)
    for (const [index, [from]] of ranges.entries()) if (index > 0) expect(from).toBe(ranges[index - 1]![1])
  }
})

test('random reads fetch nothing ahead', () => {
  const ahead = new ReadAhead(4 * MIB)
  for (let read = 0; read < 1000; read++) expect(ahead.note(((read * 7919) % 1000) * MIB, 64 * KIB)).toBeNull()
})
