// Calls between threads: results, buffers that move, errors with their codes, calls back, and every way to end.
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { WorkThread, type ThreadOptions } from '../../../protocol/host/threads.ts'
import type { TestMethods, TestOwner } from './called-thread.ts'

const start = (options: Partial<ThreadOptions> = {}): WorkThread<TestMethods> =>
  new WorkThread(new URL('called-thread.ts', import.meta.url), {
    data: null,
    ended: () => new VarveError('STORE_FAILED', 'it ended'),
    ...options,
  })

test('calls are answered each with its own result, whether it comes at once or later', async () => {
  await using thread = start({ data: { some: 'data' } })
  const sums = Array.from({ length: 50 }, (_, index) => thread.call('add', [index, 1]))
  const texts = ['a', 'b'].map((text) => thread.call('later', [text]))
  expect(await Promise.all(sums)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1))
  expect(await Promise.all(texts)).toEqual(['a', 'b'])
  expect(await thread.call('data', [])).toEqual({ some: 'data' })
  thread.tell('note', [])
  expect([await thread.call('count', []), thread.waiting]).toEqual([2, 0])
})

test('buffers move there and back; one that is gone fails its call alone', async () => {
  await using thread = start()
  const bytes = new Uint8Array(100_000)
  const filled = thread.call('fill', [bytes], [bytes.buffer])
  expect(bytes.buffer.byteLength).toBe(0)
  const back = await filled
  expect([back.length, back[99_999]]).toEqual([100_000, 7])
  await expect(thread.call('fill', [bytes], [bytes.buffer])).rejects.toMatchObject({ name: 'VarveError' })
  expect(await thread.call('add', [1, 1])).toBe(2)
})

test('errors keep code, words and details, and are heard of; what cannot cross is an error too', async () => {
  const heard: string[] = []
  await using thread = start({ onError: ({ code }) => heard.push(code) })
  const sent = { code: 'STORE_FULL', message: 'no', details: { errno: 'ENOSPC' } }
  await expect(thread.call('fail', ['STORE_FULL'])).rejects.toMatchObject(sent)
  await expect(thread.call('fail', ['MOON' as 'STORE_FULL'])).rejects.toMatchObject({ code: 'INTERNAL', message: 'no' })
  await expect(thread.call('slip', [])).rejects.toMatchObject({ code: 'STORE_FAILED', message: 'Error: a mistake' })
  await expect(thread.call('uncloneable', [])).rejects.toMatchObject({ code: 'STORE_FAILED' })
  expect(heard).toEqual(['STORE_FULL', 'INTERNAL', 'STORE_FAILED', 'STORE_FAILED'])
})

test('a thread calls back, and hears what that failed with', async () => {
  const methods: TestOwner = {
    answer: async (text) => {
      if (text === '') throw new VarveError('NOT_FOUND', 'nothing')
      return `${text}!`
    },
  }
  await using thread = start({ methods })
  expect(await thread.call('ask', ['well'])).toBe('well!')
  await expect(thread.call('ask', [''])).rejects.toMatchObject({ code: 'NOT_FOUND', message: 'nothing' })
})

test('an end answers what was given before, and lets the thread close', async () => {
  const closed = new Int32Array(new SharedArrayBuffer(4))
  const thread = start({ data: closed })
  const sum = thread.call('add', [2, 3])
  await thread.end()
  expect([await sum, closed[0], thread.ended]).toEqual([5, 1, true])
  await expect(thread.call('add', [1, 1])).rejects.toMatchObject({ code: 'STORE_FAILED', message: 'it ended' })
  thread.tell('note', [])
  await thread.end()
})

test.each(['exit', 'terminate', 'limit', 'fail'] as const)('what waits ends with the thread: %s', async (way) => {
  const thread = start()
  const never = expect(thread.call('never', [])).rejects.toMatchObject({
    code: way === 'fail' ? 'CANCELLED' : 'STORE_FAILED',
  })
  if (way === 'exit') await expect(thread.call('exit', [])).rejects.toMatchObject({ message: 'it ended' })
  if (way === 'terminate') await thread.terminate()
  if (way === 'fail') thread.fail(new VarveError('CANCELLED', 'over'))
  await thread.end(way === 'limit' ? 10 : null)
  await never
})

test('a thread that cannot begin fails its calls with the code of an end', async () => {
  const options: ThreadOptions = { ended: () => new VarveError('STORE_FAILED', 'it ended') }
  const thread = new WorkThread<TestMethods>(new URL('no-such-thread.ts', import.meta.url), options)
  await expect(thread.call('add', [1, 1])).rejects.toMatchObject({ code: 'STORE_FAILED' })
  await thread.exited
})
