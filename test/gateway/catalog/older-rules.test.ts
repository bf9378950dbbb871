// Policies and retention from before there were plans: the plans say of each machine exactly what these said.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { plansOfOlder, type OlderMachine, type OlderRetention } from '../../../gateway/catalog/older-rules.ts'
import { coveringOf } from '../../../gateway/plans/covering.ts'
import { planProblem, plansProblem } from '../../../gateway/plans/problem.ts'
import { COVERED_MAX, KEEP_OFF, policyOf } from '../../../protocol/plans.ts'
import { POLICY_DEFAULT, type Policy } from '../../../protocol/schemas.ts'

/** Rules as an older program wrote them; they can be told apart by `last`. */
const older = (last: number, more: object = {}): string =>
  JSON.stringify({
    keepLast: last,
    keepHourly: 0,
    keepDaily: 0,
    keepWeekly: 0,
    keepMonthly: 0,
    keepYearly: 0,
    keepWithinDays: 0,
    timeZone: 'UTC',
    lockDays: 0,
    ...more,
  })

const machine = (name: string, group: string | null = null, policy: object = POLICY_DEFAULT): OlderMachine => ({
  name,
  group,
  policy: JSON.stringify(policy),
})

test('a tenant’s rules are the plan of all others, a group’s that of the group, a machine’s its own', () => {
  const retention = [
    { scope: 'tenant', name: '', rules: older(1, { timeZone: 'Europe/Berlin', lockDays: 2, keepWithinDays: 1.5 }) },
    { scope: 'group', name: 'web', rules: older(2, { keepYearly: 9 }) },
    { scope: 'machine', name: 'db1', rules: older(3) },
  ]
  const strict = { ...POLICY_DEFAULT, consistency: 'freeze-required' as const }
  const plans = plansOfOlder({ retention, machines: [machine('db1'), machine('web1', 'web', strict), machine('x')] })
  expect(
    plans.map(({ name, keep, timeZone, lockDays, consistency, covers }) => [
      [name, timeZone, lockDays, consistency],
      keep,
      covers,
    ]),
  ).toEqual([
    [
      ['default', 'Europe/Berlin', 2, 'freeze'],
      { ...KEEP_OFF, last: 1, withinDays: 1.5 },
      { machines: [], groups: [], patterns: [], others: true },
    ],
    [
      ['group-web', 'UTC', 0, 'freeze'],
      { ...KEEP_OFF, last: 2, yearly: 9 },
      { machines: [], groups: ['web'], patterns: [], others: false },
    ],
    [
      ['machine-db1', 'UTC', 0, 'freeze'],
      { ...KEEP_OFF, last: 3 },
      { machines: ['db1'], groups: [], patterns: [], others: false },
    ],
    [
      ['machine-web1', 'UTC', 0, 'freeze-required'],
      { ...KEEP_OFF, last: 2, yearly: 9 },
      { machines: ['web1'], groups: [], patterns: [], others: false },
    ],
  ])
  expect(plans.every(({ schedule, rpoMs, enabled }) => schedule === null && rpoMs === null && enabled)).toBe(true)
  expect(plansOfOlder({ retention: [], machines: [machine('a'), machine('b', 'g')] })).toEqual([])
})

test('machines that say the same share a plan, as far as one plan can name them', () => {
  const policy = { consistency: 'none' }
  const machines = Array.from({ length: COVERED_MAX + 2 }, (_, index) =>
    machine(`m${10_000_000 + index}`, null, policy),
  )
  const plans = plansOfOlder({ retention: [], machines })
  expect(plans.map(({ name, covers }) => [name, covers.machines.length])).toEqual([
    ['machines-m10000000', COVERED_MAX],
    ['machines-m10010000', 2],
  ])
})

test('what is no JSON, or of a program before there were other wishes, is as the default', () => {
  const machines = [machine('a', null, { consistency: 'none', refuseFull: ['first'] })]
  const [plan] = plansOfOlder({ retention: [], machines })
  expect(policyOf(plan!)).toEqual({ ...POLICY_DEFAULT, consistency: 'none', refuseFull: ['first'] })
  const broken = [{ name: 'b', group: null, policy: '{' }]
  expect(plansOfOlder({ retention: [{ scope: 'tenant', name: '', rules: '"x"' }], machines: broken })).toMatchObject([
    { name: 'default', keep: KEEP_OFF, lockDays: 0 },
  ])
})

test('whatever the rules were, each machine has those that were nearest to it, and its policy', () => {
  const names = ['a', 'b', 'c', 'd']
  const groups = ['g', 'h', 'a']
  const anyPolicy = fc.record({
    consistency: fc.constantFrom('freeze' as const, 'none' as const),
    refuseFull: fc.constantFrom(['first' as const], []),
    refuseLeftOut: fc.constant([]),
    compareDays: fc.constantFrom(null, 7),
  })
  const anyMachines = fc.tuple(
    ...names.map((name) => fc.tuple(fc.constant(name), fc.constantFrom(null, ...groups), anyPolicy)),
  )
  const scopes = [
    ['tenant', ''],
    ...groups.map((group) => ['group', group] as const),
    ...names.map((name) => ['machine', name] as const),
  ] as const
  const anyRules = fc.subarray([...scopes.entries()])
  fc.assert(
    fc.property(anyMachines, anyRules, (machines, rules) => {
      const retention: OlderRetention[] = rules.map(([last, [scope, name]]) => ({
        scope,
        name,
        rules: older(last + 1),
      }))
      const plans = plansOfOlder({
        retention,
        machines: machines.map(([name, group, policy]) => machine(name, group, policy)),
      })
      expect([plansProblem(plans), ...plans.map(planProblem)].filter((one) => one !== null)).toEqual([])
      const covering = coveringOf(plans)
      const lastOf = (scope: string, name: string | null): number | null => {
        const found = rules.find(([, [of, named]]) => of === scope && named === name)
        return found === undefined ? null : found[0] + 1
      }
      for (const [name, group, policy] of machines) {
        const plan = covering({ name, group })
        const nearest = lastOf('machine', name) ?? lastOf('group', group) ?? lastOf('tenant', '') ?? 0
        expect([name, plan?.keep.last ?? 0, policyOf(plan) satisfies Policy]).toEqual([name, nearest, policy])
      }
    }),
  )
})
