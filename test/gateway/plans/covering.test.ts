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

test('a long pattern fits as the expression that says the same, also past what fits into bits', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '\u{e9}'), minLength: 28, maxLength: 70 })
  const units = fc.constantFrom('a', 'b', 'a', 'b', '*', '?', '?', '?')
  fc.assert(
    fc.property(letters, fc.array(units, { maxLength: 70 }), fc.nat(70), (name, noise, at) => {
      const pattern = `${name.slice(0, at)}${noise.join('')}*${name.slice(at + 2).replaceAll('b', '?')}`
      const source = pattern.replaceAll('*', '.*').replaceAll('?', '.')
      expect(fits(pattern, name)).toBe(new RegExp(`^${source}$`).test(name))
    }),
    { numRuns: 2000 },
  )
})

test.each([31, 32, 33, 62, 63, 64, 65])('names of %i characters are told apart by their last one', (length) => {
  const name = 'x'.repeat(length)
  const fitting = [name, `${name}*`, `*${name}`, '?'.repeat(length), `*${'?'.repeat(length)}*`]
  expect(fitting.map((pattern) => fits(pattern, name))).toEqual(fitting.map(() => true))
  const others = [`${name}?`, `${name.slice(1)}y`, name.slice(1), `*y`, `${name}x*`]
  expect(others.map((pattern) => fits(pattern, name))).toEqual(others.map(() => false))
})

test.each([`${'*a'.repeat(31)}b`, `*${'a'.repeat(31)}b`])(
  '"%s" costs little for a name that it nearly fits',
  (pattern) => {
    const name = 'a'.repeat(63)
    const fromMs = performance.now()
    for (let time = 0; time < 10_000; time++) if (fits(pattern, name)) throw new Error('it does not fit')
    // some 10 ms; what tried the pattern at each place of the name took twenty times as long
    expect(performance.now() - fromMs).toBeLessThan(150)
  },
)
