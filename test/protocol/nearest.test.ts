// Which word was probably meant.
import { expect, test } from 'vitest'
import { nearest, orElse } from '../../protocol/nearest.ts'

const WORDS = ['name', 'qmp', 'guest_agent', 'exclude'] as const

test.each([
  ['qmpp', 'qmp'],
  ['QMP', 'qmp'],
  ['pqm', null],
  ['qpm', 'qmp'],
  ['guest-agent', 'guest_agent'],
  ['gest_agnet', 'guest_agent'],
  ['guestagent', 'guest_agent'],
  ['excludes', 'exclude'],
  ['x', null],
  ['', null],
  ['password', null],
])('%s is probably %s', (typed, meant) => {
  expect(nearest(typed, WORDS)).toBe(meant)
})

test('what is near nothing is told what there is', () => {
  expect(orElse('qmpp', WORDS, 'known are')).toBe('did you mean "qmp"?')
  expect(orElse('zzz', ['a', 'b'], 'this host has')).toBe('this host has: a, b')
  expect(orElse('zzz', [], 'this host has')).toBe('this host has: none')
})
