// A plan in a form: what was not touched is no change, and what cannot be read is told with its field.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { changeOf, draftOf } from '../../../../gateway/console/views/plans/draft.ts'
import { plannedAfter } from './planned.ts'
import { anyPlan } from '../../plans/any-plan.ts'

test('a form that nobody touched changes nothing of any plan', () => {
  fc.assert(
    fc.property(anyPlan, (plan) => {
      // the form has minutes and hours, so a part of a millisecond is no part of it
      expect(plannedAfter(plan, changeOf(draftOf(plan)))).toEqual(plan)
    }),
  )
})

test('lists are separated by commas or spaces, numbers may have a comma, and empty is none', () => {
  const draft = { ...draftOf(null), name: ' p ', machines: 'a, b  a,,c', rpo: '1,5', schedule: ' ', verifyDays: '' }
  expect(changeOf(draft)).toMatchObject({
    name: 'p',
    rpoMs: 5_400_000,
    schedule: null,
    verifyDays: null,
    covers: { machines: ['a', 'b', 'c'] },
  })
  expect(() => changeOf({ ...draft, rpo: 'soon' })).toThrow(/No older than, in hours takes a number/u)
  expect(() => changeOf({ ...draft, keep: { ...draft.keep, daily: '' } })).toThrow(/Daily takes a number/u)
})
