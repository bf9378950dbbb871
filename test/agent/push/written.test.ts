// Blocks that were written, beside a plain list of them.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BLOCK, BLOCK_BYTES, Written, type BlockState } from '../../../agent/push/written.ts'

const BLOCKS = 20_000

test('whatever is written in whatever order, every run and the count are those of a plain list', () => {
  const write = fc.tuple(fc.nat(BLOCKS - 1), fc.integer({ min: 1, max: 9000 }), fc.constantFrom(BLOCK.data, BLOCK.zero))
  fc.assert(
    fc.property(fc.array(write, { maxLength: 12 }), fc.nat(BLOCKS - 1), (writes, from) => {
      const written = new Written(BLOCKS * BLOCK_BYTES - 512)
      const plain: BlockState[] = Array.from({ length: BLOCKS }, () => BLOCK.unwritten)
      for (const [first, count, state] of writes) {
        const end = Math.min(BLOCKS, first + count)
        written.mark(first, end, state)
        plain.fill(state, first, end)
      }
      expect(written.count).toBe(plain.filter((state) => state !== BLOCK.unwritten).length)
      for (let at = from; at < BLOCKS;) {
        const run = written.run(at, BLOCKS)
        const next = plain.findIndex((state, index) => index >= at && state !== plain[at])
        expect(run).toEqual({ state: plain[at], end: next < 0 ? BLOCKS : next })
        at = run.end
      }
    }),
    { numRuns: 50 },
  )
})

test('a disk of 16 TiB that was written from its beginning to its end takes next to no memory', () => {
  const written = new Written(2 ** 44)
  const before = process.memoryUsage().arrayBuffers
  for (let block = 0; block < written.blocks; block += 2 ** 14) written.mark(block, block + 2 ** 14, BLOCK.data)
  expect(written.count).toBe(written.blocks)
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024)
  expect(written.run(0, written.blocks)).toEqual({ state: BLOCK.data, end: written.blocks })
})
