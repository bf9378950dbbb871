// Names of states: each has its own, and a machine that no plan covers is not said to lack a point.
import { expect, test } from 'vitest'
import { protection } from '../../../../gateway/console/texts/protection.ts'
import { MACHINE_STATES } from '../../../../protocol/coverage.ts'

test('what a machine lacks is named', () => {
  expect([protection.states.never, protection.states.uncovered]).toEqual(['Never backed up', 'No plan'])
  expect(new Set(MACHINE_STATES.map((state) => protection.states[state])).size).toBe(MACHINE_STATES.length)
})
