// What work under way protects from a collection.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { References } from '../../../gateway/datastore/references.ts'

const id = (): Uint8Array => new Uint8Array(randomBytes(32))

test('covers what holders relied on when the collection began, and what is touched from then on', () => {
  const references = new References()
  const [before, held, touched, never] = [id(), id(), id(), id()]
  references.touch([before])
  const ids = [held]
  const holder = references.hold({ ids: () => ids })
  using protection = references.protect()
  // given up by its holder, but whoever it was told to may rely on it still
  holder[Symbol.dispose]()
  ids.length = 0
  references.touch([touched])
  expect([before, held, touched, never].map((one) => protection.covers(one))).toEqual([false, true, true, false])
})

test('a holder that is gone when the collection begins protects nothing', () => {
  const references = new References()
  const one = id()
  references.hold({ ids: () => [one] })[Symbol.dispose]()
  using protection = references.protect()
  expect(protection.covers(one)).toBe(false)
})

test('names the trees that are being read at the time of asking', () => {
  const references = new References()
  const [first, second] = [
    { root: id(), chunks: 5 },
    { root: null, chunks: 7 },
  ]
  const reading = references.hold({ tree: first })
  using protection = references.protect()
  using _late = references.hold({ tree: second })
  using _other = references.hold({ ids: () => [] })
  expect(protection.trees()).toEqual([first, second])
  reading[Symbol.dispose]()
  expect(protection.trees()).toEqual([second])
})

test('one collection at a time, and the next one begins afresh', () => {
  const references = new References()
  const one = id()
  const protection = references.protect()
  references.touch([one])
  expect(() => references.protect()).toThrow(expect.objectContaining({ code: 'MAINTENANCE_RUNNING' }))
  expect(protection.covers(one)).toBe(true)
  protection[Symbol.dispose]()
  using next = references.protect()
  expect(next.covers(one)).toBe(false)
})

test('past a bound of ids everything is covered', () => {
  const references = new References(3)
  using protection = references.protect()
  const ids = [id(), id(), id(), id()]
  references.touch(ids.slice(0, 2))
  expect(protection.covers(ids[3]!)).toBe(false)
  references.touch(ids.slice(2, 3))
  expect(ids.map((one) => protection.covers(one))).toEqual([true, true, true, true])
  references.touch(ids)
})
