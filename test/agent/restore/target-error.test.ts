// The system's errors about a restore's place, in sentences.
import { expect, test } from 'vitest'
import { targetError } from '../../../agent/restore/target-error.ts'
import { VarveError } from '../../../protocol/errors.ts'

const coded = (code: string): unknown => Object.assign(new Error('why'), { code })

test('says what is wrong with the place and what to do', () => {
  for (const code of 'ENOSPC EDQUOT EFBIG EROFS EACCES EPERM ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG EBUSY EIO'.split(
    ' ',
  )) {
    const { code: ours, message } = targetError('cannot write /a', coded(code))
    expect(ours).toBe('TARGET_INVALID')
    expect(message).toMatch(new RegExp(`^cannot write /a: .{15,} \\(${code}\\)$`, 'u'))
  }
  expect(targetError('cannot write /a', coded('ENOENT')).message).toBe(
    'cannot write /a: its folder does not exist: make it first (ENOENT)',
  )
})

test('keeps an error that is ours, and tells the place from the program', () => {
  const ours = new VarveError('TARGET_EXISTS', 'there')
  expect(targetError('x', ours)).toBe(ours)
  expect(targetError('x', coded('EBADF')).code).toBe('INTERNAL')
  expect(targetError('x', new TypeError('no'))).toMatchObject({ code: 'INTERNAL', message: 'x: no' })
})
