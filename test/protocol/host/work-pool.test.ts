// Threads that share a queue: they begin as they are needed, are replaced where they end, and refuse what is too much.
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { WorkPool, type PoolOptions } from '../../../protocol/host/work-pool.ts'
import type { TestMethods } from './called-thread.ts'

const start = (options: Partial<PoolOptions> = {}): WorkPool<TestMethods> =>
  new WorkPool(new URL('called-thread.ts', import.meta.url), {
    threads: 2,
    perThread: 1,
    waitingMax: 1000,
    data: null,
    ended: () => new VarveError('STORE_FAILED', 'it ended'),
    full: () => new VarveError('TOO_MANY_REQUESTS', 'too much'),
    closed: () => new VarveError('CANCELLED', 'closed'),
    ...options,
  })

test.each([1, 3])('every call has its answer, with %d at a thread at once', async (perThread) => {
  await using pool = start({ perThread })
  const sums = Array.from({ length: 300 }, (_, index) => pool.call('add', [index, 1]))
  expect(await Promise.all(sums)).toEqual(Array.from({ length: 300 }, (_, index) => index + 1))
})

test('there are no more threads than it was given', async () => {
  await using pool = start({ threads: 1 })
  expect(await Promise.all([1, 2, 3].map(() => pool.call('count', [])))).toEqual([1, 2, 3])
})

test('a thread that ends fails the call that it had, and the next has another', async () => {
  await using pool = start({ threads: 1 })
  const calls = [pool.call('count', []), pool.call('exit', []), pool.call('count', [])]
  expect(await Promise.allSettled(calls)).toMatchObject([
    { value: 1 },
    { reason: { code: 'STORE_FAILED', message: 'it ended' } },
    { value: 1 },
  ])
})

test('past the bound a call is refused, and those before it are not', async () => {
  await using pool = start({ threads: 1, waitingMax: 2 })
  const calls = [1, 2, 3, 4].map((value) => pool.call('add', [value, 0]))
  expect(await Promise.allSettled(calls)).toMatchObject([
    { value: 1 },
    { value: 2 },
    { value: 3 },
    { reason: { code: 'TOO_MANY_REQUESTS' } },
  ])
})

test('an end answers what is under way and refuses the rest; a cancel refuses all', async () => {
  const pool = start({ threads: 1 })
  const calls = [1, 2].map((value) => pool.call('add', [value, 0]))
  const settled = Promise.allSettled(calls)
  await pool[Symbol.asyncDispose]()
  expect(await settled).toMatchObject([{ value: 1 }, { reason: { code: 'CANCELLED' } }])
  await expect(pool.call('add', [1, 1])).rejects.toMatchObject({ code: 'CANCELLED' })
  const other = start({ threads: 1 })
  const both = Promise.allSettled([other.call('never', []), other.call('add', [1, 1])])
  await other.cancel()
  expect(await both).toMatchObject([{ reason: { code: 'CANCELLED' } }, { reason: { code: 'CANCELLED' } }])
})
