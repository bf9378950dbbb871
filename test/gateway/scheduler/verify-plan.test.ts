// When machines are verified again: never later than the plan says, spread, the oldest first, none without a plan that says so.
import { expect, test } from 'vitest'
import type { VerifiableMachine } from '../../../gateway/catalog/upkeep.ts'
import { dueVerifications } from '../../../gateway/scheduler/verify-plan.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { FIRST_PLAN, type Plan } from '../../../protocol/plans.ts'

const NOW_MS = 1000 * DAY_MS

const machine = (name: string, ageDays: number): VerifiableMachine => ({
  machine: name,
  group: null,
  points: 3,
  oldestMs: NOW_MS - ageDays * DAY_MS,
})

const names = Array.from({ length: 200 }, (_, index) => `vm${index}`)

const plan = (name: string, rest: Partial<Plan>): Plan => ({ ...FIRST_PLAN, name, ...rest })

const dueOf = (machines: readonly VerifiableMachine[], plans: readonly Plan[] = [FIRST_PLAN]) =>
  dueVerifications('acme-id', machines, plans, NOW_MS).map((due) => due.machine)

test('nothing before three quarters of the age, everything at its end, in between about as many each day', () => {
  const dueAt = (days: number): number => dueOf(names.map((name) => machine(name, days))).length
  expect(dueAt(22.4)).toBe(0)
  expect(dueAt(30)).toBe(200)
  const perDay = [23, 24, 25, 26, 27, 28, 29, 30].map((day) => dueAt(day) - dueAt(day - 1))
  expect(Math.max(...perDay)).toBeLessThan(50)
  expect(Math.min(...perDay)).toBeGreaterThan(5)
})

test('the one that was looked at longest ago comes first, with points that are half as old as allowed', () => {
  const due = dueVerifications('acme-id', [machine('a', 40), machine('b', 90), machine('c', 31)], [FIRST_PLAN], NOW_MS)
  expect(due.map((one) => one.machine)).toEqual(['b', 'a', 'c'])
  expect(due[0]).toEqual({ machine: 'b', olderThanDays: 15, oldestMs: NOW_MS - 90 * DAY_MS, overdue: true })
})

test('each machine by its own plan; without one, or one without an age, never', () => {
  const covers = { ...FIRST_PLAN.covers, others: false }
  const plans = [
    plan('soon', { verifyDays: 2, covers: { ...covers, machines: ['a'] } }),
    plan('never', { verifyDays: null, covers: { ...covers, machines: ['b'] } }),
  ]
  expect(dueOf([machine('a', 2), machine('b', 9999), machine('c', 9999)], plans)).toEqual(['a'])
})
