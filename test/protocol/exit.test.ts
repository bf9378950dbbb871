// Exit codes: one for every error code, by what a caller of the program can do about it.
import { expect, test } from 'vitest'
import { ERRORS, type ErrorCode } from '../../protocol/errors.ts'
import { EXIT, exitCode } from '../../protocol/exit.ts'

const codes = Object.keys(ERRORS) as ErrorCode[]

test('every error code has an exit code that is not 0', () => {
  const known = new Set<number>(Object.values(EXIT))
  for (const code of codes) {
    expect(known.has(exitCode(code)), code).toBe(true)
    expect(exitCode(code), code).not.toBe(EXIT.ok)
  }
})

test.each([
  ['PARAMS_INVALID', 2],
  ['CONFIG_INVALID', 2],
  ['CONNECTION_LOST', 3],
  ['AGENT_OFFLINE', 3],
  ['TOKEN_EXPIRED', 4],
  ['ROLE_FORBIDDEN', 4],
  ['ENROLMENT_USED', 4],
  ['JOB_RUNNING', 5],
  ['FULL_REFUSED', 5],
  ['TARGET_EXISTS', 5],
  ['CATALOG_MISSING', 5],
  ['QUOTA_EXCEEDED', 5],
  ['POINT_HELD', 5],
  ['MAINTENANCE_RUNNING', 5],
  ['CANCELLED', 130],
  ['INTERNAL', 1],
  ['DATA_DAMAGED', 1],
] as const)('%s exits with %i', (code, expected) => {
  expect(exitCode(code)).toBe(expected)
})

test('every trouble with a token is "denied"', () => {
  for (const code of codes.filter((one) => one.startsWith('TOKEN_'))) expect(exitCode(code), code).toBe(EXIT.denied)
})
