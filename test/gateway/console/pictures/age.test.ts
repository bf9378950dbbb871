// Age against target: what is near, what is over, and what has neither.
import { expect, test } from 'vitest'
import { agePicture } from '../../../../gateway/console/pictures/age.ts'

const HOUR_MS = 3_600_000

test('a bar grows with the age, warns near the target and is bad past it', () => {
  const at = (hours: number) => agePicture({ lastPointMs: 0, targetMs: 10 * HOUR_MS }, hours * HOUR_MS)
  expect([1, 8, 9, 10, 11, 40].map((hours) => [at(hours)!.share, at(hours)!.tone])).toEqual([
    [0.1, 'good'],
    [0.8, 'good'],
    [0.9, 'warn'],
    [1, 'warn'],
    [1.1, 'bad'],
    [4, 'bad'],
  ])
})

test('a point of a clock that is ahead is as new as can be, and a target of nothing is missed', () => {
  expect(agePicture({ lastPointMs: 5, targetMs: HOUR_MS }, 0)).toMatchObject({ ageMs: 0, share: 0, tone: 'good' })
  expect(agePicture({ lastPointMs: 0, targetMs: 0 }, 0)).toMatchObject({ tone: 'bad' })
})

test('without a point or a target there is no bar', () => {
  expect(agePicture({ lastPointMs: null, targetMs: 1 }, 0)).toBeNull()
  expect(agePicture({ lastPointMs: 1, targetMs: null }, 0)).toBeNull()
})
