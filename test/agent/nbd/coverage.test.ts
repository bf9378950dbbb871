// The bookkeeping of a read against a model that marks every byte.

import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Coverage, COVERAGE_PIECES_MAX } from '../../../agent/nbd/coverage.ts'

test('agrees with a model that marks every byte', () => {
  const piece = fc.tuple(fc.integer({ min: 90, max: 145 }), fc.integer({ min: 0, max: 20 }))
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const coverage = new Coverage(100, 40)
      const marked = new Set<number>()
      for (const [offset, length] of pieces) {
        const bytes = Array.from({ length }, (_, index) => offset + index)
        const good = length > 0 && bytes.every((byte) => byte >= 100 && byte < 140 && !marked.has(byte))
        if (good) {
          coverage.add(offset, length)
          for (const byte of bytes) marked.add(byte)
        } else {
          expect(() => coverage.add(offset, length)).toThrow(expect.objectContaining({ code: 'NBD_PROTOCOL' }))
        }
        expect(coverage.complete).toBe(marked.size === 40)
      }
    }),
    { numRuns: 1000 },
  )
})

test('any order of the right pieces completes', () => {
  const shuffled = fc.shuffledSubarray(
    Array.from({ length: 50 }, (_, index) => index),
    { minLength: 50 },
  )
  fc.assert(
    fc.property(shuffled, (order) => {
      const coverage = new Coverage(4096, 50 * 512)
      for (const index of order) coverage.add(4096 + index * 512, 512)
      expect(coverage.complete).toBe(true)
    }),
  )
})

test('a server cannot make it grow without bound', () => {
  const coverage = new Coverage(0, 1 << 20)
  for (let index = 0; index < COVERAGE_PIECES_MAX; index += 1) coverage.add(index * 2, 1)
  expect(() => coverage.add(COVERAGE_PIECES_MAX * 2, 1)).toThrow(expect.objectContaining({ code: 'NBD_PROTOCOL' }))
})
