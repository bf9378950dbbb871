// What changes when plans are applied: nothing where nothing differs, each field by its name, lists by what goes and comes.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { applied } from '../../../gateway/plans/differences.ts'
import { FIRST_PLAN, PLAN_RULES_DEFAULT, type Plan } from '../../../protocol/plans.ts'
import { anyPlans } from './any-plan.ts'

const plan = (name: string, rules: Partial<Plan> = {}): Plan => ({ ...PLAN_RULES_DEFAULT, ...rules, name })

test('a change of one field is one difference, and what is not said stays or is as in the default', () => {
  const before = [plan('gold', { priority: 90, rpoMs: 14_400_000 })]
  const change = { name: 'gold', keep: { daily: 7 }, rpoMs: 7_200_000 }
  const merged = applied(before, { plans: [change], merge: true })
  expect(merged.changes).toEqual([
    {
      plan: 'gold',
      change: 'changed',
      fields: [
        { field: 'rpoMs', before: '4h', after: '2h' },
        { field: 'keep.daily', before: '0', after: '7' },
      ],
    },
  ])
  expect(merged.after).toMatchObject([{ priority: 90, rpoMs: 7_200_000, keep: { daily: 7, last: 0 } }])
  const whole = applied(before, { plans: [change] })
  expect(whole.after).toMatchObject([{ priority: 50, rpoMs: 7_200_000 }])
  expect(whole.changes[0]!.fields).toContainEqual({ field: 'priority', before: '90', after: '50' })
})

test('lists say what goes and what comes, and their order means nothing', () => {
  const covers = { ...PLAN_RULES_DEFAULT.covers, machines: ['a', 'b', 'c'] }
  const before = [plan('gold', { covers })]
  const same = applied(before, { plans: [{ name: 'gold', covers: { machines: ['c', 'a', 'b'] } }], merge: true })
  expect(same.changes).toEqual([])
  const other = applied(before, { plans: [{ name: 'gold', covers: { machines: ['d', 'b', 'c'] } }], merge: true })
  expect(other.changes[0]!.fields).toEqual([{ field: 'covers.machines', before: 'a', after: 'd' }])
  const many = Array.from({ length: 25 }, (_, index) => `m${index + 10}`)
  const long = applied(before, { plans: [{ name: 'gold', covers: { machines: many } }] })
  expect(long.changes[0]!.fields[0]).toMatchObject({ before: 'a, b, c', after: expect.stringMatching(/ and 5 more$/u) })
})

test('plans come, go by name, and go where they are to be replaced', () => {
  const before = [plan('a'), plan('b'), FIRST_PLAN]
  const gone = applied(before, { plans: [], remove: ['a', 'zzz'] })
  expect([gone.changes, gone.missing]).toEqual([[{ plan: 'a', change: 'removed', fields: [] }], ['zzz']])
  const replaced = applied(before, { plans: [plan('b'), plan('c', { enabled: false })], replace: true })
  expect(replaced.changes).toEqual([
    { plan: 'a', change: 'removed', fields: [] },
    { plan: 'c', change: 'added', fields: [{ field: 'enabled', before: 'true', after: 'false' }] },
    { plan: 'nightly', change: 'removed', fields: [] },
  ])
  expect(replaced.after.map(({ name }) => name)).toEqual(['b', 'c'])
})

test('applying what is there changes nothing, whatever it is; and what is applied is there', () => {
  fc.assert(
    fc.property(anyPlans, anyPlans, (before, wanted) => {
      const { after } = applied(before, { plans: wanted, replace: true })
      expect(applied(after, { plans: after, replace: true }).changes).toEqual([])
      expect(applied(after, { plans: wanted, replace: true }).changes).toEqual([])
      expect(applied(after, { plans: [] }).changes).toEqual([])
    }),
  )
})
