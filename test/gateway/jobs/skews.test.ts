// What is remembered of agents' clocks. Method: notes by hand, and a log that keeps what it is given.
import { expect, test } from 'vitest'
import { Skews } from '../../../gateway/jobs/skews.ts'

test('the last skew of each agent counts, a large one is logged, and agents that are gone are forgotten', () => {
  const logged: unknown[] = []
  const skews = new Skews({ warn: (about: unknown) => void logged.push(about) } as never)
  skews.note('a', 90_000)
  skews.note('b', -5)
  skews.note('b', -61_000)
  expect(logged).toEqual([
    { agent: 'a', skewMs: 90_000 },
    { agent: 'b', skewMs: -61_000 },
  ])
  expect([skews.get('a'), skews.get('c')]).toEqual([90_000, null])
  expect(skews.of([{ id: 'a' }, { id: 'c' }])).toEqual([{ id: 'a', skewMs: 90_000 }])
  expect(skews.of([{ id: 'a' }, { id: 'b' }])).toEqual([{ id: 'a', skewMs: 90_000 }])
})
