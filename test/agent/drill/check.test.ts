// What proves that a machine runs: texts of checks, and patterns that must not hold anything up.
import { expect, test } from 'vitest'
import { ConsolePattern, parseCheck } from '../../../agent/drill/check.ts'

test('checks are read, and what is none is refused', () => {
  expect(parseCheck('guest-agent')).toEqual({ kind: 'guest-agent' })
  expect(parseCheck('serial:login:')).toEqual({ kind: 'serial', pattern: /login:/mu })
  expect(parseCheck('command:curl -f x')).toEqual({ kind: 'command', command: 'curl -f x' })
  for (const text of ['', 'serial:', 'serial:(', 'command:', 'agent', 'serial:a\nb', `serial:${'a'.repeat(600)}`])
    expect(() => parseCheck(text)).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }) as Error)
})

test('a pattern finds lines, and one that would take for ever is given up', () => {
  const login = new ConsolePattern(/^\S+ login:/mu)
  expect(login.find('a\nb')).toBeNull()
  expect(login.find('a\nvarve login: ')).toBe('varve login:')
  expect(() => new ConsolePattern(/^(?:a+)+$/mu).find(`${'a'.repeat(40)}!`)).toThrow(
    expect.objectContaining({ code: 'LIMIT_REACHED' }) as Error,
  )
})
