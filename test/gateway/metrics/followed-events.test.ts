// Events as they come: each once and in order, also over pages, after a failure, and at the end.
import { expect, test } from 'vitest'
import { EVENTS_PAGE_MAX, type EventRow } from '../../../gateway/catalog/events.ts'
import { FOLLOW_MS, FollowedEvents } from '../../../gateway/metrics/followed-events.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { HandClock, settle } from '../../support/hand-clock.ts'

const stand = (last = 0) => {
  const clock = new HandClock()
  const taken: number[] = []
  const state = { last, fails: false, reads: 0 }
  let wake = (): void => {}
  const followed = new FollowedEvents({
    events: {
      after: async (seq) => {
        state.reads++
        if (state.fails) throw new Error('away')
        const count = Math.min(EVENTS_PAGE_MAX, state.last - seq)
        return Array.from({ length: count }, (_, index) => ({ seq: seq + 1 + index }) as EventRow)
      },
      listen: (listener) => {
        wake = listener
        return () => (wake = () => {})
      },
    },
    from: 3,
    take: ({ seq }) => taken.push(seq),
    clock,
    log: openLog({ level: 'silent' }),
  })
  return { followed, clock, taken, state, wake: () => wake() }
}

test('what was there before is not taken; what comes is, in one reading for many changes', async () => {
  const { followed, clock, taken, state, wake } = stand(3)
  await using _ = followed
  state.last = 5
  wake()
  wake()
  await clock.advanceSettled(FOLLOW_MS)
  expect([taken, state.reads]).toEqual([[4, 5], 1])
  await followed.read()
  expect(taken).toEqual([4, 5])
})

test('more than a page is read to its end, and a failure loses nothing', async () => {
  const { followed, taken, state } = stand(3)
  await using _ = followed
  state.last = 3 + EVENTS_PAGE_MAX + 2
  state.fails = true
  await followed.read()
  expect(taken).toEqual([])
  state.fails = false
  await Promise.all([followed.read(), followed.read()])
  expect(taken).toEqual(Array.from({ length: EVENTS_PAGE_MAX + 2 }, (_, index) => index + 4))
})

test('at the end what is there is taken, and nothing afterwards', async () => {
  const { followed, clock, taken, state, wake } = stand(3)
  state.last = 4
  wake()
  await followed[Symbol.asyncDispose]()
  expect([taken, clock.waiting]).toEqual([[4], 0])
  state.last = 9
  wake()
  await settle()
  await clock.advanceSettled(FOLLOW_MS)
  expect(taken).toEqual([4])
})
