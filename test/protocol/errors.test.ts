// Errors: the class, what becomes of other thrown values, and the table against PROTOCOL.md.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { asVarveError, ERRORS, isErrorCode, VarveError, type ErrorCode } from '../../protocol/errors.ts'

describe('the class', () => {
  test('carries code, sentence, details and cause', () => {
    const cause = new Error('why')
    const error = new VarveError('STORE_FULL', 'the disk is full', { details: { freeBytes: 0 }, cause })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'VarveError', code: 'STORE_FULL', details: { freeBytes: 0 }, cause })
    expect([error.retry, error.endsConnection]).toEqual([true, false])
    expect(new VarveError('REPLACED', '').endsConnection).toBe(true)
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
