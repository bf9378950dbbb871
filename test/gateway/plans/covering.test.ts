// Which plan covers a machine.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { coveringOf, fits } from '../../../gateway/plans/covering.ts'
import { PLAN_RULES_DEFAULT, type Covers, type Plan } from '../../../protocol/plans.ts'

const plan = (name: string, covers: Partial<Covers>): Plan => ({
  ...PLAN_RULES_DEFAULT,
  name,
  covers: { ...PLAN_RULES_DEFAULT.covers, ...covers },
})

const nameOf = (plans: Plan[], name: string, group: string | null = null): string | null =>
  coveringOf(plans)({ name, group })?.name ?? null

test('the machine’s own name counts before its group, a group before a pattern, a longer pattern before a shorter one, all before others', () => {
  const plans = [
    plan('rest', { others: true }),
    plan('all-db', { patterns: ['db*'] }),
    plan('test-db', { patterns: ['db-test*'] }),
    plan('gold', { groups: ['gold'] }),
    plan('one', { machines: ['db1'] }),
  ]
  expect(nameOf(plans, 'db1', 'gold')).toBe('one')
  expect(nameOf(plans, 'db2', 'gold')).toBe('gold')
  expect(nameOf(plans, 'db-test-1')).toBe('test-db')
  expect(nameOf(plans, 'db2')).toBe('all-db')
  expect(nameOf(plans, 'web', 'silver')).toBe('rest')
  expect(nameOf(plans.slice(1), 'web', 'silver')).toBeNull()
})

test('the order of the plans changes nothing', () => {
  const plans = [plan('b', { others: true }), plan('a', { others: true }), plan('c', { patterns: ['x?', '?x'] })]
  expect(nameOf(plans, 'm')).toBe('a')
  expect(nameOf(plans.toReversed(), 'm')).toBe('a')
  expect(nameOf(plans, 'xx')).toBe('c')
})

test('a pattern fits as the expression that says the same', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '.', '-'), maxLength: 8 })
  const patterns = fc.string({ unit: fc.constantFrom('a', 'b', '.', '-', '*', '?'), minLength: 1, maxLength: 8 })
  fc.assert(
    fc.property(patterns, letters, (pattern, name) => {
      const source = pattern.replaceAll('.', '\\.').replaceAll('*', '.*').replaceAll('?', '.')
      expect(fits(pattern, name)).toBe(new RegExp(`^${source}$`, 'u').test(name))
    }),
    { numRuns: 2000 },
  )
})

test('a pattern of many stars costs no more than its length times the name’s', () => {
  expect(fits(`${'*a'.repeat(31)}b`, 'a'.repeat(63))).toBe(false)
})
