// What is wrong with plans: each contradiction is named with the plans in it, and bounds hold only against growing.
import { expect, test } from 'vitest'
import { planProblem, plansLimit, plansProblem } from '../../../gateway/plans/problem.ts'
import { PATTERNS_MAX, PLAN_RULES_DEFAULT, PLANS_MAX, type Covers, type Plan } from '../../../protocol/plans.ts'

const plan = (name: string, covers: Partial<Covers> = {}): Plan => ({
  ...PLAN_RULES_DEFAULT,
  name,
  covers: { ...PLAN_RULES_DEFAULT.covers, ...covers },
})

test('a schedule or a window that cannot be read is said with its plan', () => {
  expect(planProblem({ ...plan('a'), schedule: 'at night' })).toMatch(/^plan a: .*at night/u)
  expect(planProblem({ ...plan('a'), schedule: 'every 4h', window: 'at night' })).toMatch(/^plan a: .*at night/u)
  expect(planProblem({ ...plan('a'), schedule: '0 1 * * *', window: '22:00-06:00' })).toBe(null)
})

test('what is listed twice in one plan is said', () => {
  expect(planProblem(plan('a', { machines: ['x', 'y', 'x'] }))).toBe('plan a: machine "x" is listed twice')
  expect(planProblem(plan('a', { groups: ['g', 'g'] }))).toBe('plan a: group "g" is listed twice')
  expect(planProblem(plan('a', { patterns: ['w*', 'w*'] }))).toBe('plan a: pattern "w*" is listed twice')
  expect(planProblem(plan('a', { machines: ['x'], groups: ['x'], patterns: ['x'] }))).toBe(null)
})

test('a machine, group or pattern in two plans is said, and so are two plans for all others', () => {
  for (const [field, one] of [
    ['machines', 'machine'],
    ['groups', 'group'],
    ['patterns', 'pattern'],
  ] as const)
    expect(plansProblem([plan('a', { [field]: ['x', 'y'] }), plan('b', { [field]: ['z', 'y'] })])).toBe(
      `${one} "y" is listed twice, in plans a and b: take it out of one of them`,
    )
  expect(plansProblem([plan('a', { others: true }), plan('b'), plan('c', { others: true })])).toMatch(/a and c both/u)
  // the nearer one counts: no contradiction
  expect(plansProblem([plan('a', { machines: ['x'] }), plan('b', { groups: ['x'], others: true })])).toBe(null)
})

test('plans and patterns are bounded', () => {
  const many = Array.from({ length: PLANS_MAX + 1 }, (_, index) => plan(`p${index}`))
  expect(plansLimit(many.slice(1))).toBe(null)
  expect(plansLimit(many)).toMatch(/at most 1000 plans/u)
  const patterns = Array.from({ length: PATTERNS_MAX }, (_, index) => `x${index}*`)
  expect(plansLimit([plan('a', { patterns })])).toBe(null)
  expect(plansLimit([plan('a', { patterns }), plan('b', { patterns: ['y*'] })])).toMatch(/patterns/u)
})
