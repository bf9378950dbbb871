// Runs between arrival and tree: order, room, bounds, and no hold on received frames.
import { expect, test } from 'vitest'
import { AHEAD_ITEMS_MIN, Backlog, batchOfRuns, runsOf } from '../../../gateway/chains/backlog.ts'
import { UPLOAD_AHEAD_ITEMS_MAX, UPLOAD_IDS_MAX, UPLOAD_WAITING_ITEMS_MAX } from '../../../protocol/limits.ts'
import { RUN } from '../../../protocol/methods.ts'

const full = () => batchOfRuns([[RUN.ids, new Uint8Array(UPLOAD_IDS_MAX * 32)]])

/** A backlog with as much memory as it asks for. */
const roomy = () => new Backlog(() => true)

test('a batch keeps its ids and not the frame they came in', () => {
  const frame = new Uint8Array(1024 * 1024).fill(7)
  const batch = batchOfRuns([
    [RUN.zero, 5],
    [RUN.ids, frame.subarray(100, 164)],
    [RUN.keep, 2],
  ])
  expect([...runsOf(batch)]).toEqual([
    { kind: RUN.zero, count: 5, ids: null },
    { kind: RUN.ids, count: 2, ids: new Uint8Array(64).fill(7) },
    { kind: RUN.keep, count: 2, ids: null },
  ])
  expect(batch.ids.buffer.byteLength).toBe(64)
  expect([batch.items, batch.missing]).toEqual([6, 0])
})

test('a message has at most its number of ids, in however many runs', () => {
  expect(full().items).toBe(UPLOAD_IDS_MAX + 2)
  const most: [2, Uint8Array] = [RUN.ids, new Uint8Array(UPLOAD_IDS_MAX * 32)]
  const one: [2, Uint8Array] = [RUN.ids, new Uint8Array(32)]
  expect(() => batchOfRuns([most, one])).toThrow(expect.objectContaining({ code: 'UPLOAD_INVALID' }))
})

test('batches are answered and placed in order, and only when nothing is missing', () => {
  const backlog = roomy()
  const [a, b] = [batchOfRuns([[RUN.zero, 1]]), batchOfRuns([[RUN.zero, 2]])]
  expect([backlog.answerable, backlog.placeable]).toEqual([null, null])
  backlog.add(a)
  backlog.add(b)
  expect(backlog.answerable).toBe(a)
  a.missing = 1
  backlog.answered()
  expect(backlog.answerable).toBe(b)
  backlog.answered()
  expect([backlog.waiting, backlog.ahead, backlog.placeable]).toEqual([0, 2, null])
  a.missing = 0
  expect(backlog.placeable).toBe(a)
  backlog.placed()
  expect(backlog.placeable).toBe(b)
  backlog.placed()
  expect([backlog.ahead, backlog.placeable]).toEqual([0, null])
})

test('both queues are bounded by what they hold, and room comes back', () => {
  const backlog = roomy()
  const { items } = full()
  let ahead = 0
  for (;;) {
    backlog.add(full())
    if (backlog.answerable === null) break
    backlog.answered()
    ahead += items
  }
  expect(ahead).toBeLessThanOrEqual(UPLOAD_AHEAD_ITEMS_MAX)
  expect(ahead + items).toBeGreaterThan(UPLOAD_AHEAD_ITEMS_MAX)
  for (let waiting = 2 * items; waiting <= UPLOAD_WAITING_ITEMS_MAX; waiting += items) backlog.add(full())
  expect(() => backlog.add(full())).toThrow(expect.objectContaining({ code: 'UPLOAD_INVALID' }))
  backlog.placed()
  expect(backlog.answerable).toBeNull()
  backlog.committed(1)
  expect(backlog.answerable).not.toBeNull()
  backlog.answered()
  backlog.add(full())
})

test('names every id until what it is in is durable', () => {
  const backlog = roomy()
  const batch = (byte: number) =>
    batchOfRuns([
      [RUN.keep, 3],
      [RUN.ids, new Uint8Array(64).fill(byte)],
      [RUN.zero, 1],
    ])
  const named = (): number[] => [...backlog.ids()].map((id) => id[0]!).sort()
  for (const byte of [1, 2, 3]) backlog.add(batch(byte))
  expect(named()).toEqual([1, 1, 2, 2, 3, 3])
  backlog.answered()
  backlog.answered()
  backlog.placed()
  expect(named()).toEqual([1, 1, 2, 2, 3, 3])
  const { uncommitted } = backlog
  backlog.placed()
  backlog.committed(uncommitted)
  expect(named()).toEqual([2, 2, 3, 3])
})

test('without memory a few are answered all the same, and one however large it is', () => {
  const asked: number[] = []
  const backlog = new Backlog((items) => {
    asked.push(items)
    return items === 0
  })
  const small = () => batchOfRuns([[RUN.ids, new Uint8Array(32 * 32)]])
  let answered = 0
  for (;;) {
    backlog.add(small())
    if (backlog.answerable === null) break
    backlog.answered()
    answered += small().items
  }
  expect(answered).toBeLessThanOrEqual(AHEAD_ITEMS_MIN)
  expect(answered + small().items).toBeGreaterThan(AHEAD_ITEMS_MIN)
  while (backlog.ahead > 0) backlog.placed()
  expect(backlog.placedItems).toBe(answered)
  // what is in the tree counts until it is durable, and still the next one is answered
  expect(backlog.answerable).not.toBeNull()
  backlog.committed(backlog.uncommitted)
  expect([backlog.placedItems, asked.at(-1)]).toEqual([0, 0])
})
