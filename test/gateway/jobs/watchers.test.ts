// Watchers: woken by a change, by time or by their own end, rarely enough, and nothing of them stays behind.
import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { Watchers } from '../../../gateway/jobs/watchers.ts'
import { HandClock } from '../../support/hand-clock.ts'

const settled = async (promise: Promise<void>): Promise<boolean> => {
  let over = false
  void promise.then(() => (over = true))
  await new Promise((resolve) => setImmediate(resolve))
  return over
}

test('a change wakes every watcher of its job, not at once again and no other’s', async () => {
  const clock = new HandClock(0)
  const watchers = new Watchers(clock)
  const { signal } = new AbortController()
  const waits = [watchers.changed('a', signal), watchers.changed('a', signal)]
  const other = watchers.changed('b', signal)
  watchers.notify('nobody', 'end')
  watchers.notify('a', 'progress')
  expect(await settled(waits[0]!)).toBe(false)
  clock.advance(200)
  expect([await settled(waits[0]!), await settled(waits[1]!), await settled(other)]).toEqual([true, true, false])
  expect(getEventListeners(signal, 'abort')).toHaveLength(1)
})

test('the end is told at once, also in the pause after a notice', async () => {
  const clock = new HandClock(0)
  const watchers = new Watchers(clock)
  const { signal } = new AbortController()
  const first = watchers.changed('a', signal)
  watchers.notify('a', 'end')
  expect(await settled(first)).toBe(true)
  const second = watchers.changed('a', signal)
  watchers.notify('a', 'progress')
  expect(await settled(second)).toBe(false)
  watchers.notify('a', 'progress')
  expect(await settled(second)).toBe(false)
  watchers.notify('a', 'end')
  expect(await settled(second)).toBe(true)
  expect(clock.waiting).toBe(0)
})

test('without a change it looks again after a while', async () => {
  const clock = new HandClock(0)
  const watchers = new Watchers(clock)
  const waiting = watchers.changed('a', new AbortController().signal)
  clock.advance(9000)
  expect(await settled(waiting)).toBe(false)
  clock.advance(1000)
  await settled(waiting)
  clock.advance(200)
  expect(await settled(waiting)).toBe(true)
})

test('one that goes away is let go of with its timer, also before it began', async () => {
  const clock = new HandClock(0)
  const watchers = new Watchers(clock)
  const abort = new AbortController()
  const waiting = watchers.changed('a', abort.signal)
  abort.abort()
  expect(await settled(waiting)).toBe(true)
  expect(clock.waiting).toBe(0)
  expect(await settled(watchers.changed('a', abort.signal))).toBe(true)
  expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0)
})
