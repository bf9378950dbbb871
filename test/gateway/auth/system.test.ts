// Who acts when the gateway acts by itself: a name that logs and rows keep.
import { expect, test } from 'vitest'
import { SYSTEM } from '../../../gateway/auth/system.ts'

test('is what rows and entries of before say', () => {
  expect(SYSTEM).toEqual({ subject: 'varve', role: 'platform' })
})
