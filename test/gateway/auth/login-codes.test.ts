// One-time codes: good once and for minutes by a clock that nobody sets, a bounded number for each tenant, and kept as hashes.
import { expect, test } from 'vitest'
import { CODES_MAX, LoginCodes, type Login } from '../../../gateway/auth/login-codes.ts'
import { LOGIN_CODE_CHARS_MAX, LOGIN_CODE_LIFE_MS } from '../../../protocol/limits.ts'
import { HandClock } from '../../support/hand-clock.ts'

const anna: Login = {
  tenantId: 'acme',
  subject: 'anna',
  role: 'viewer',
  ttlMs: 1000,
  issuedBy: 'an owner',
  issuerToken: '',
}

const codeOf = (work: () => unknown): string => {
  try {
    work()
    return 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('a code is good once, and a second use tells whose it was', () => {
  const codes = new LoginCodes(new HandClock(1_000_000))
  const { code, expiresMs } = codes.issue(anna)
  expect(code.length).toBeLessThanOrEqual(LOGIN_CODE_CHARS_MAX)
  expect(code).toMatch(/^[\w-]{32}$/u)
  expect(expiresMs).toBe(1_000_000 + LOGIN_CODE_LIFE_MS)
  expect(codes.take(code)).toMatchObject(anna)
  expect(() => codes.take(code)).toThrow(
    expect.objectContaining({
      code: 'LOGIN_CODE_INVALID',
      bearer: { tenantId: 'acme', subject: 'anna', role: 'viewer' },
    }) as Error,
  )
})

test('a code ends after its minutes, whatever the clock on the wall says', () => {
  const clock = new HandClock(1_000_000)
  const codes = new LoginCodes(clock)
  const [first, second] = [codes.issue(anna).code, codes.issue(anna).code]
  clock.advance(LOGIN_CODE_LIFE_MS - 1)
  expect(codes.take(first)).toMatchObject(anna)
  clock.advance(1)
  expect(codeOf(() => codes.take(second))).toBe('LOGIN_CODE_INVALID')
  // one that was used is forgotten then too
  expect(() => codes.take(first)).toThrow(expect.objectContaining({ bearer: null }) as Error)
})

test('a guess, an empty text and what an object has by itself are no codes', () => {
  const codes = new LoginCodes(new HandClock(0))
  const { code } = codes.issue(anna)
  for (const guess of [
    '',
    'x',
    '__proto__',
    'constructor',
    code.slice(1),
    `${code} `,
    code.toUpperCase(),
    code.toLowerCase(),
  ])
    expect([guess, codeOf(() => codes.take(guess))]).toEqual([guess, 'LOGIN_CODE_INVALID'])
  expect(codes.take(code)).toMatchObject(anna)
})

test('a tenant has a bounded number that are unused, others have their own, and used ones make room', () => {
  const codes = new LoginCodes(new HandClock(0))
  const { code } = codes.issue(anna)
  for (let count = 1; count < CODES_MAX; count++) codes.issue(anna)
  expect(codeOf(() => codes.issue(anna))).toBe('TOO_MANY_REQUESTS')
  expect(codeOf(() => codes.issue({ ...anna, tenantId: 'other' }))).toBe('none')
  expect(codeOf(() => codes.issue({ ...anna, tenantId: null }))).toBe('none')
  codes.take(code)
  expect(codeOf(() => codes.issue(anna))).toBe('none')
  expect(codeOf(() => codes.issue(anna))).toBe('TOO_MANY_REQUESTS')
})
