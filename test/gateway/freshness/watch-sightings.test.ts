// For how long agents are connected or away: from when that was seen first. Method: looks at moments by hand.
import { expect, test } from 'vitest'
import { Sightings } from '../../../gateway/freshness/watch-sightings.ts'

test('an agent is as it is since the look that saw it so first, and one that is gone is forgotten', () => {
  const sightings = new Sightings()
  const online = new Set(['a'])
  const look = (elapsedMs: number, ids = ['a', 'b']): (string | number | boolean)[][] =>
    sightings
      .look(
        ids.map((id) => ({ id })),
        { online: (id) => online.has(id), elapsedMs },
      )
      .map(({ id, online: is, forMs }) => [id, is, forMs])
  expect(look(100)).toEqual([
    ['a', true, 0],
    ['b', false, 0],
  ])
  online.delete('a')
  expect(look(160)).toEqual([
    ['a', false, 0],
    ['b', false, 60],
  ])
  expect(look(200, ['a'])).toEqual([['a', false, 40]])
  expect(look(300)).toEqual([
    ['a', false, 140],
    ['b', false, 0],
  ])
})
