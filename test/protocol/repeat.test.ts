// Repeated work on a clock that the test moves: intervals from end to begin, failures, and the end.
import { expect, test } from 'vitest'
import { repeat } from '../../protocol/repeat.ts'
import { HandClock, settle } from '../support/hand-clock.ts'

test('begins an interval after the last end, also after a failure, and not once it is stopped', async () => {
  const clock = new HandClock(0)
  const begun: number[] = []
  const failures: unknown[] = []
  let release = (): void => {}
  const again = repeat({
    clock,
    intervalMs: 100,
    work: () => {
      begun.push(clock.now())
      if (begun.length === 2) return Promise.reject(new Error('no'))
      return new Promise((resolve) => (release = resolve))
    },
    onError: (error) => failures.push(error),
  })
  expect(begun).toEqual([])
  clock.advance(100)
  await settle()
  clock.advance(1000)
  await settle()
  expect(begun).toEqual([100])
  release()
  await settle()
  clock.advance(100)
  await settle()
  expect([begun, failures]).toMatchObject([[100, 1200], [{ message: 'no' }]])
  clock.advance(100)
  await settle()
  expect(begun).toEqual([100, 1200, 1300])
  let ended = false
  const stopped = again[Symbol.asyncDispose]().then(() => (ended = true))
  await settle()
  expect(ended).toBe(false)
  release()
  await stopped
  clock.advance(1000)
  await settle()
  expect([begun.length, clock.waiting]).toEqual([3, 0])
})
