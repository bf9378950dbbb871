// Exit codes: one for every error code, by what a caller of the program can do about it.
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { ERRORS, type ErrorCode } from '../../../protocol/errors.ts'
import { BY_EXIT, EXIT, exitCode } from '../../../protocol/host/exit.ts'

const codes = Object.keys(ERRORS) as ErrorCode[]

test('every error code has an exit code that is not 0', () => {
  const known = new Set<number>(Object.values(EXIT))
  for (const code of codes) {
    expect(known.has(exitCode(code)), code).toBe(true)
    expect(exitCode(code), code).not.toBe(EXIT.ok)
  }
})

test('every code stands in one list, or ends a program as a token or an interruption does', () => {
  const listed = Object.values(BY_EXIT).flat()
  const others = codes.filter((code) => code.startsWith('TOKEN_') || code === 'CANCELLED')
  expect([...listed, ...others].toSorted()).toEqual(codes.toSorted())
})

test('README’s table has these exit codes and no others', async () => {
  const readme = await readFile(new URL('../../../README.md', import.meta.url), 'utf8')
  const table = readme.slice(readme.indexOf('| exit code | means'))
  const rows = [...table.slice(0, table.indexOf('\n\n')).matchAll(/^\| (\d+) +\| (.+?) +\|$/gmu)]
  const known = Object.values(EXIT).map(String)
  expect(rows.map(([, code]) => code)).toEqual(known.toSorted((one, other) => Number(one) - Number(other)))
  const meaning = Object.fromEntries(rows.map(([, code, means]) => [code, means]))
  // what the words say of the codes that a person may meet
  for (const [words, ...named] of [
    ['busy', 'NBD_SERVER_BUSY', 'JOB_RUNNING', 'LEASE_HELD', 'TOO_MANY_REQUESTS', 'TARGET_IN_USE', 'REPLACED'],
    ['exists', 'EXISTS', 'TARGET_EXISTS'],
    ['a plan says no', 'FULL_REFUSED', 'DISK_LEFT_OUT', 'FREEZE_REQUIRED'],
    ['cannot be reached', 'CONNECTION_LOST', 'AGENT_OFFLINE', 'GOING_AWAY'],
    ['configuration', 'CONFIG_INVALID', 'PARAMS_INVALID', 'TARGET_INVALID'],
    ['not allowed', 'ROLE_FORBIDDEN', 'TOKEN_EXPIRED', 'ENROLMENT_USED', 'NOT_ENROLLED'],
    ['interrupted', 'CANCELLED'],
  ] as const)
    for (const code of named) expect(meaning[exitCode(code as ErrorCode)], code).toContain(words)
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
  ['NBD_SERVER_BUSY', 5],
  ['TARGET_IN_USE', 5],
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
