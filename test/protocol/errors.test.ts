// Errors: the class, what becomes of other thrown values, and the table against PROTOCOL.md.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  asVarveError,
  ERROR_DETAILS_MAX,
  ERRORS,
  isErrorCode,
  peerFailed,
  toldError,
  VarveError,
  type ErrorCode,
} from '../../protocol/errors.ts'

describe('the class', () => {
  test('carries code, sentence, details and cause', () => {
    const cause = new Error('why')
    const error = new VarveError('STORE_FULL', 'the disk is full', { details: { freeBytes: 0 }, cause })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'VarveError', code: 'STORE_FULL', details: { freeBytes: 0 }, cause })
    expect([error.retry, error.endsConnection]).toEqual([true, false])
    expect(new VarveError('REPLACED', '').endsConnection).toBe(true)
    // work waits until there is room; what is bounded for good does not
    expect([new VarveError('TOO_MANY_REQUESTS', '').retry, new VarveError('LIMIT_REACHED', '').retry]).toEqual([
      true,
      false,
    ])
    expect('cause' in new VarveError('REPLACED', '')).toBe(false)
  })

  test('what is thrown elsewhere becomes INTERNAL, or the code that was said, and keeps the original', () => {
    const known = new VarveError('NOT_FOUND', 'gone')
    expect(asVarveError(known, 'STORE_FAILED')).toBe(known)
    const thrown = new TypeError('x is not a function')
    expect(asVarveError(thrown)).toMatchObject({ code: 'INTERNAL', message: thrown.message, cause: thrown })
    expect(asVarveError(thrown, 'QMP_PROTOCOL').code).toBe('QMP_PROTOCOL')
    for (const odd of ['text', undefined, null, 7, Symbol('s'), { a: 1 }])
      expect(asVarveError(odd)).toBeInstanceOf(VarveError)
  })

  test('only own codes of the table are codes', () => {
    expect(Object.keys(ERRORS).every(isErrorCode)).toBe(true)
    for (const text of ['', 'toString', '__proto__', 'constructor', 'frame_invalid'])
      expect(isErrorCode(text)).toBe(false)
  })
})

test('what the other side says cannot steer a terminal, pass for a code or its details, or be without end', () => {
  const words = 'first\nsecond\u001b[2J\u009b1m\r'
  for (const code of ['__proto__', 'constructor', 'toString', '', '\ud800', 'A\nB\u001b[1m', 'x'.repeat(100_000)]) {
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`k${index}`, 'v'.repeat(5000)]))
    const error = toldError(code, words, { code: 'INTERNAL', 'a\u001b': '\u001b', ...many })
    expect([error.code, error.endsConnection, error.retry]).toEqual(['PEER_FAILED', false, false])
    const shown = JSON.stringify([error.message, error.details], null, 0)
    expect(error.message).toMatch(/^the other side failed \([^\n]*\): first\nsecond\uFFFD\[2J\uFFFD1m\uFFFD$/u)
    expect(shown).not.toMatch(/[^\P{Cc}]/u)
    expect(shown).not.toContain('u001b')
    expect(error.details['code']).not.toBe('INTERNAL')
    expect(Object.keys(error.details).length).toBeLessThanOrEqual(ERROR_DETAILS_MAX)
    expect(shown.length).toBeLessThan(ERROR_DETAILS_MAX * 1200)
  }
  expect(toldError('NOT_FOUND', words).message).toBe('first\nsecond\uFFFD[2J\uFFFD1m\uFFFD')
  expect(peerFailed('STORE_FULL', words).message).not.toContain('\u001b')
})

test('PROTOCOL.md says of every code what the table says', () => {
  const page = readFileSync(new URL('../../protocol/PROTOCOL.md', import.meta.url), 'utf8')
  const written = [...page.matchAll(/^\| `([A-Z_]+)` +\| (yes|no) +\| (connection|request) +\| (\d{3}) /gmu)].map(
    ([, code, retry, scope, http]) => ({ code, retry: retry === 'yes', scope, http: Number(http) }),
  )
  const meant = (Object.keys(ERRORS) as ErrorCode[]).map((code) => {
    const { retry, scope, http } = ERRORS[code]
    return { code, retry, scope, http }
  })
  expect(written).toEqual(meant)
})
