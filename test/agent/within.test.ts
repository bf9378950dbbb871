// A limited wait.
import { expect, test } from 'vitest'
import { within } from '../../agent/within.ts'

test('gives the value, the failure, or null when neither comes in time', async () => {
  expect(await within(Promise.resolve(7), 20_000)).toBe(7)
  await expect(within(Promise.reject(new Error('no')), 20_000)).rejects.toThrow('no')
  expect(await within(new Promise(() => undefined), 10)).toBe(null)
})
