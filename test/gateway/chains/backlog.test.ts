// Runs between arrival and tree: order, room, bounds, and no hold on received frames.
import { expect, test } from 'vitest'
import { AHEAD_ITEMS_MAX, Backlog, batchOfRuns, WAITING_ITEMS_MAX } from '../../../gateway/chains/backlog.ts'
import { UPLOAD_IDS_MAX } from '../../../protocol/limits.ts'
import { RUN } from '../../../protocol/methods.ts'

const full = () => batchOfRuns([[RUN.ids, new Uint8Array(UPLOAD_IDS_MAX * 32)]])

test('a batch keeps its ids and not the frame they came in', () => {
  const frame = new Uint8Array(1024 * 1024).fill(7)
  const { runs, items, missing } = batchOfRuns([
    [RUN.zero, 5],
    [RUN.ids, frame.subarray(100, 164)],
    [RUN.keep, 2],
  ])
  expect(runs).toEqual([
    [RUN.zero, 5],
    [RUN.ids, new Uint8Array(64).fill(7)],
    [RUN.keep, 2],
  ])
  expect((runs[1]![1] as Uint8Array).buffer.byteLength).toBe(64)
  expect([items, missing]).toEqual([6, 0])
})

test('a message has at most its number of ids, in however many runs', () => {
  expect(full().items).toBe(UPLOAD_IDS_MAX + 2)
  const one: [2, Uint8Array] = [RUN.ids, new Uint8Array(32)]
  expect(() => batchOfRuns([...full().runs, one])).toThrow(expect.objectContaining({ code: 'UPLOAD_INVALID' }))
})

test('batches are answered and placed in order, and only when nothing is missing', () => {
  const backlog = new Backlog()
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
  const backlog = new Backlog()
  const { items } = full()
  let ahead = 0
  for (;;) {
    backlog.add(full())
    if (backlog.answerable === null) break
    backlog.answered()
    ahead += items
  }
  expect(ahead).toBeLessThanOrEqual(AHEAD_ITEMS_MAX)
  expect(ahead + items).toBeGreaterThan(AHEAD_ITEMS_MAX)
  for (let waiting = 2 * items; waiting <= WAITING_ITEMS_MAX; waiting += items) backlog.add(full())
  expect(() => backlog.add(full())).toThrow(expect.objectContaining({ code: 'UPLOAD_INVALID' }))
  backlog.placed()
  expect(backlog.answerable).not.toBeNull()
  backlog.answered()
  backlog.add(full())
})

test('names every id until what it is in is durable', () => {
  const backlog = new Backlog()
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
  backlog.committed()
  expect(named()).toEqual([2, 2, 3, 3])
})
