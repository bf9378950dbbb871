// What plans name that is not there: each name once, a bound on how much is said, and nothing for what is there.
import { expect, test } from 'vitest'
import { unmatched, UNMATCHED_MAX } from '../../../gateway/plans/unmatched.ts'
import { PLAN_RULES_DEFAULT, type Covers, type Plan } from '../../../protocol/plans.ts'

const plan = (covers: Partial<Covers>): Plan => ({
  ...PLAN_RULES_DEFAULT,
  name: 'p',
  covers: { ...PLAN_RULES_DEFAULT.covers, ...covers },
})

const MACHINES = [
  { name: 'db1', group: 'databases' },
  { name: 'web1', group: null },
]

test('machines, groups and patterns without a machine are named', () => {
  const covers = { machines: ['db1', 'db2'], groups: ['databases', 'webs'], patterns: ['web*', 'x*'] }
  expect(unmatched([plan(covers)], MACHINES)).toEqual([
    'plan p: there is no machine "db2" yet',
    'plan p: no machine is in group "webs" yet',
    'plan p: no machine fits "x*" yet',
  ])
  expect(unmatched([plan({ others: true })], [])).toEqual([])
})

test('what is too much to say is counted', () => {
  const machines = Array.from({ length: UNMATCHED_MAX + 7 }, (_, index) => `m${index}`)
  const said = unmatched([plan({ machines })], MACHINES)
  expect([said.length, said.at(-1)]).toEqual([UNMATCHED_MAX + 1, 'and 7 more of that kind'])
})
