// The bandwidth limit on a clock that the test moves.
import { expect, test } from 'vitest'
import { Throttle } from '../../../protocol/host/throttle.ts'
import { HandClock, settle } from '../../support/hand-clock.ts'

/** Takes and notes when it was granted. */
const taken = async (throttle: Throttle, clock: HandClock, bytes: number): Promise<number> => {
  await throttle.take(bytes)
  return clock.now()
}

test('lets everything through without a limit', async () => {
  const clock = new HandClock()
  const throttle = new Throttle(null, clock)
  await throttle.take(1e12)
  expect(clock.waiting).toBe(0)
})

test('gives callers the rate together, in their order', async () => {
  const clock = new HandClock()
  const throttle = new Throttle(1000, clock)
  const times = Promise.all([taken(throttle, clock, 1000), taken(throttle, clock, 500), taken(throttle, clock, 2000)])
  await clock.advanceSettled(10_000)
  expect(await times).toEqual([1000, 1500, 3500])
})

test('keeps the rate in the long run, whatever the sizes and pauses', async () => {
  const clock = new HandClock()
  const throttle = new Throttle(1000, clock)
  await clock.advanceSettled(60_000)
  const startMs = clock.now()
  let bytes = 0
  for (const size of [10, 4000, 1, 700, 30, 2500]) {
    const granted = throttle.take(size)
    await clock.advanceSettled(1000)
    while (clock.waiting > 0) await clock.advanceSettled(100)
    await granted
    bytes += size
    // a pause earns at most a quarter of a second's worth
    expect(bytes).toBeLessThanOrEqual(clock.now() - startMs + 250)
  }
})

test('keeps the rate when the time of day is set', async () => {
  const clock = new HandClock(1e9)
  const throttle = new Throttle(1000, clock)
  const startMs = clock.elapsed()
  for (const nowMs of [0, 1e12, 1e9]) {
    clock.set(nowMs)
    const granted = throttle.take(1000)
    await clock.advanceSettled(1000)
    await granted
  }
  expect(clock.elapsed() - startMs).toBe(3000)
})

test('follows a rate that changes, from the next bytes on', async () => {
  const clock = new HandClock()
  let rate: number | null = 1000
  const throttle = new Throttle(() => rate, clock)
  const times: number[] = []
  for (const next of [100, null, 1000]) {
    const granted = taken(throttle, clock, 1000)
    await settle()
    await clock.advanceSettled(20_000)
    times.push(await granted)
    rate = next
  }
  expect(times).toEqual([1000, 20_000 + 9750, 40_000])
})

test('an abandoned wait ends at once and gives back what it took', async () => {
  const clock = new HandClock()
  const throttle = new Throttle(1000, clock)
  const abort = new AbortController()
  const reason = new Error('no longer wanted')
  const abandoned = throttle.take(60_000, abort.signal)
  abort.abort(reason)
  await expect(abandoned).rejects.toBe(reason)
  expect(clock.waiting).toBe(0)
  await expect(throttle.take(1, abort.signal)).rejects.toBe(reason)
  const next = taken(throttle, clock, 1000)
  await clock.advanceSettled(5000)
  expect(await next).toBe(1000)
})
