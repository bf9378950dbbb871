// The share of the time that something is in hand, however many things at once. Method: a clock moved by hand.
import { expect, test } from 'vitest'
import { Hand } from '../../../gateway/chains/hand.ts'
import { HandClock } from '../../support/hand-clock.ts'

test('time with several things in hand counts once, time with none does not, and a stretch begins where the last ended', () => {
  const clock = new HandClock()
  const hand = new Hand(clock)
  clock.advance(10)
  hand.take()
  clock.advance(5)
  hand.take()
  clock.advance(5)
  hand.give()
  clock.advance(5)
  hand.give()
  clock.advance(10)
  expect(hand.stretch()).toEqual({ overMs: 35, heldMs: 15 })
  hand.take()
  clock.advance(3)
  expect(hand.overMs).toBe(3)
  expect(hand.stretch()).toEqual({ overMs: 3, heldMs: 3 })
  clock.advance(4)
  expect(hand.stretch()).toEqual({ overMs: 4, heldMs: 4 })
})

test('work that the other side waits for is in hand until it ends, also by an error', async () => {
  const clock = new HandClock()
  const hand = new Hand(clock)
  const work = Promise.withResolvers<void>()
  const during = hand.during(work.promise)
  clock.advance(7)
  work.reject(new Error('broken'))
  await expect(during).rejects.toThrow('broken')
  clock.advance(2)
  expect(hand.stretch()).toEqual({ overMs: 9, heldMs: 7 })
})
