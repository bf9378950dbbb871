// Names of states: a machine that has points but no plan is not said to have none.
import { expect, test } from 'vitest'
import { protection, stateText } from '../../../../gateway/console/texts/protection.ts'

test('what a machine lacks is named', () => {
  expect(protection.states.never).toBe('No plan or point')
  expect(stateText('never', false)).toBe('No plan or point')
  expect(stateText('never', true)).toBe('No plan')
  expect(stateText('late', true)).toBe('Late')
})
