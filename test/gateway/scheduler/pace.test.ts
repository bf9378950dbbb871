// Upkeep slows down while backups run, goes on when they have ended, and leaves no timer behind.
import { expect, test } from 'vitest'
import { BESIDE_BACKUPS_BYTES_PER_SECOND, Pace } from '../../../gateway/scheduler/pace.ts'
import { HandClock } from '../../support/hand-clock.ts'

test('the rate follows whether backups run', async () => {
  const clock = new HandClock()
  let running = true
  {
    await using pace = await Pace.start({ look: async () => running, clock, bytesPerSecond: null })
    expect(pace.rate()).toBe(BESIDE_BACKUPS_BYTES_PER_SECOND)
    running = false
    await clock.advanceSettled(3000)
    expect(pace.rate()).toBeNull()
    running = true
    await clock.advanceSettled(3000)
    expect(pace.rate()).toBe(BESIDE_BACKUPS_BYTES_PER_SECOND)
  }
  expect(clock.waiting).toBe(0)
})

test('a slow rate of its own stays, and what cannot be looked at counts as busy', async () => {
  const clock = new HandClock()
  await using slow = await Pace.start({ look: async () => true, clock, bytesPerSecond: 1024 })
  expect(slow.rate()).toBe(1024)
  const look = () => Promise.reject(new Error('closed'))
  await using blind = await Pace.start({ look, clock, bytesPerSecond: null })
  expect(blind.rate()).toBe(BESIDE_BACKUPS_BYTES_PER_SECOND)
})
