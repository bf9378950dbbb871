// Where an upload's time goes, one state at each instant. Method: a clock moved by hand.
import { expect, test } from 'vitest'
import { Pace } from '../../agent/pace.ts'
import { HandClock } from '../support/hand-clock.ts'

test('work goes before sending, sending before answers; hashing is a share of the threads’ time', async () => {
  const clock = new HandClock()
  const pace = new Pace(clock)
  clock.advance(50)
  expect(pace.take()).toBeNull()
  const end = Promise.withResolvers<void>()
  const upload = pace.uploading(() => end.promise)
  clock.advance(10)
  const sent = Promise.withResolvers<void>()
  const sending = pace.sending(() => sent.promise)
  clock.advance(20)
  const read = Promise.withResolvers<{ computeMs: number }>()
  const working = pace.working(2, () => read.promise)
  clock.advance(30)
  read.resolve({ computeMs: 16 })
  await working
  clock.advance(5)
  sent.resolve()
  await sending
  clock.advance(2)
  expect(pace.take()).toEqual({ overMs: 67, readingMs: 22, compressingMs: 8, sendingMs: 25, answersMs: 12 })
  end.resolve()
  await upload
  clock.advance(100)
  expect(pace.take()).toBeNull()
})

test('the map of a disk is waited for as the disk is, and given back when nobody wants more of it', async () => {
  const clock = new HandClock()
  const pace = new Pace(clock)
  let closed = false
  async function* slow(): AsyncGenerator<number> {
    try {
      for (let number = 0; ; number++) {
        clock.advance(4)
        yield number
      }
    } finally {
      closed = true
    }
  }
  const seen: number[] = []
  await pace.uploading(async () => {
    for await (const item of pace.awaited(slow())) {
      seen.push(item)
      if (item === 2) break
    }
  })
  expect([seen, closed]).toEqual([[0, 1, 2], true])
  expect(pace.take()).toMatchObject({ readingMs: 12, answersMs: 0 })
})

test('hashing never counts for more than the threads worked', async () => {
  const clock = new HandClock()
  const pace = new Pace(clock)
  await pace.uploading(() =>
    pace.working(1, async () => {
      clock.advance(5)
      return { computeMs: 900 }
    }),
  )
  expect(pace.take()).toMatchObject({ overMs: 5, readingMs: 0, compressingMs: 5 })
})
