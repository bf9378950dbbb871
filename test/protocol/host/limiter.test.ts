// The limiter never lets more weight run than its bound and keeps the order; the queue runs one piece at a time, whatever fails.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Limiter, Queue } from '../../../protocol/host/limiter.ts'

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

describe('limiter', () => {
  test('bounds the weight under way, starts in order and loses nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ weight: fc.integer({ min: 1, max: 15 }), turns: fc.nat(5), fails: fc.boolean() })),
        async (pieces) => {
          const limiter = new Limiter({ weightMax: 10, waitingMax: 1000 })
          let weight = 0
          const started: number[] = []
          const results = await Promise.allSettled(
            pieces.map((piece, index) =>
              limiter.run(piece.weight, async () => {
                started.push(index)
                weight += Math.min(piece.weight, 10)
                expect(weight).toBeLessThanOrEqual(10)
                await turns(piece.turns)
                weight -= Math.min(piece.weight, 10)
                if (piece.fails) throw new Error('fails')
                return index
              }),
            ),
          )
          expect(started).toEqual(pieces.map((_, index) => index))
          expect(results.map(({ status }) => status === 'rejected')).toEqual(pieces.map(({ fails }) => fails))
        },
      ),
    )
  })

  test('refuses more waiters than allowed', async () => {
    const limiter = new Limiter({ weightMax: 1, waitingMax: 1 })
    const running = Promise.withResolvers<void>()
    const first = limiter.run(1, () => running.promise)
    const second = limiter.run(1, async () => 'second')
    await expect(limiter.run(1, async () => 'third')).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS' })
    running.resolve()
    await first
    expect(await second).toBe('second')
  })

  test('a caller that goes leaves the queue, and those behind it come up', async () => {
    const limiter = new Limiter({ weightMax: 2, waitingMax: 2 })
    const running = Promise.withResolvers<void>()
    const first = limiter.run(1, () => running.promise)
    const gone = new AbortController()
    let ran = false
    const heavy = limiter.run(2, async () => (ran = true), gone.signal)
    const light = limiter.run(1, async () => 'light')
    const reason = new Error('gone')
    gone.abort(reason)
    await expect(heavy).rejects.toBe(reason)
    expect(await light).toBe('light')
    await expect(limiter.run(1, async () => (ran = true), gone.signal)).rejects.toBe(reason)
    running.resolve()
    await first
    // nothing of what was given back is lost
    expect(await limiter.run(2, async () => 'both')).toBe('both')
    expect(ran).toBe(false)
  })
})

describe('queue', () => {
  test('runs one after the other in order, and goes on after a failure', async () => {
    const queue = new Queue()
    const events: string[] = []
    const work = (name: string, fails = false) =>
      queue.run(async () => {
        events.push(`${name} begins`)
        await turns(3)
        events.push(`${name} ends`)
        if (fails) throw new Error(name)
        return name
      })
    const results = await Promise.allSettled([work('a'), work('b', true), work('c')])
    await queue.idle()
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(events).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  })
})
