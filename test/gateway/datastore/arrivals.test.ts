// What other uploads brought since ids were looked up: found again, forgotten in time, and never missed.
import { expect, test } from 'vitest'
import { Arrivals } from '../../../gateway/datastore/arrivals.ts'
import { randomBytes } from 'node:crypto'
import { ID_BYTES } from '../../../protocol/chunk.ts'

const id = (): Uint8Array => new Uint8Array(randomBytes(ID_BYTES))

test('ids that came after the mark are told, those of before and others are not', () => {
  const arrivals = new Arrivals()
  using _one = arrivals.open()
  using _two = arrivals.open()
  const [before, after] = [id(), id()]
  arrivals.note([before])
  const { mark } = arrivals
  expect(arrivals.mayHave(mark, [before, after])).toBe(false)
  arrivals.note([after])
  expect(arrivals.mayHave(mark, [id(), before])).toBe(false)
  expect(arrivals.mayHave(mark, [id(), after])).toBe(true)
  expect(arrivals.mayHave(arrivals.mark, [after])).toBe(false)
})

test('of a mark that is too old everything may have come; what is remembered is bounded', () => {
  const arrivals = new Arrivals(100)
  using _one = arrivals.open()
  using _two = arrivals.open()
  const { mark } = arrivals
  const ids = Array.from({ length: 1000 }, id)
  for (const one of ids) arrivals.note([one])
  expect(arrivals.mayHave(mark, [id()])).toBe(true)
  const late = arrivals.mark
  for (const one of ids.slice(0, 100)) arrivals.note([one])
  expect(ids.slice(0, 100).every((one) => arrivals.mayHave(late, [one]))).toBe(true)
  expect(arrivals.mayHave(late, [ids[100]!])).toBe(false)
})

test('an upload alone is not remembered; nor is anything once the others have ended', () => {
  const arrivals = new Arrivals()
  using _one = arrivals.open()
  const { mark } = arrivals
  const [alone, together] = [id(), id()]
  arrivals.note([alone])
  expect(arrivals.mayHave(mark, [alone])).toBe(false)
  const other = arrivals.open()
  arrivals.note([together])
  expect(arrivals.mayHave(mark, [together])).toBe(true)
  other[Symbol.dispose]()
  expect(arrivals.mayHave(mark, [id()])).toBe(true)
  expect(arrivals.mayHave(arrivals.mark, [together])).toBe(false)
})
