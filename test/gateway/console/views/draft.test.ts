// A plan in a form: what was not touched is no change, and what cannot be read is told with its field.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkedChanges } from '../../../../gateway/plans/differences.ts'
import { changeOf, draftOf, toggled } from '../../../../gateway/console/views/plans/draft.ts'
import { anyPlan } from '../../plans/any-plan.ts'

test('a form that nobody touched changes nothing of any plan', () => {
  fc.assert(
    fc.property(anyPlan, (plan) => {
      const [stored] = checkedChanges([], { plans: [plan] }).after
      expect(checkedChanges([stored!], { plans: [changeOf(draftOf(stored!))], merge: true }).changes).toEqual([])
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

test('how machines are read is said whole, and a reason that is switched leaves the others', () => {
  const draft = draftOf(null)
  expect(changeOf(draft)).toMatchObject({ consistency: 'freeze', compareDays: null, refuseFull: [], refuseLeftOut: [] })
  const refuseFull = toggled(toggled(['bitmap-missing', 'moved'] as const, 'moved'), 'moved')
  expect(toggled(refuseFull, 'bitmap-missing')).toEqual(['moved'])
  const strict = { ...draft, consistency: 'freeze-required', compareDays: '30', refuseFull } as const
  expect(changeOf({ ...strict, refuseLeftOut: ['read-only'] })).toMatchObject({
    consistency: 'freeze-required',
    compareDays: 30,
    refuseFull: ['bitmap-missing', 'moved'],
    refuseLeftOut: ['read-only'],
  })
  expect(() => changeOf({ ...draft, compareDays: 'monthly' })).toThrow(/Compare all again after days takes a number/u)
})
