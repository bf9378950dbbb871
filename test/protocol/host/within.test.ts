// A limited wait.
import { expect, test } from 'vitest'
import { orAbort, pause, within } from '../../../protocol/host/within.ts'

test('gives the value, the failure, or null when neither comes in time', async () => {
  expect(await within(Promise.resolve(7), 20_000)).toBe(7)
  await expect(within(Promise.reject(new Error('no')), 20_000)).rejects.toThrow('no')
  expect(await within(new Promise(() => undefined), 10)).toBe(null)
})

test('a signal ends the wait with its reason, also one that had aborted before', async () => {
  const controller = new AbortController()
  const never = new Promise<number>(() => undefined)
  const waiting = orAbort(never, controller.signal)
  controller.abort(new Error('over'))
  await expect(waiting).rejects.toThrow('over')
  await expect(orAbort(never, controller.signal)).rejects.toThrow('over')
  expect(await orAbort(Promise.resolve(7), new AbortController().signal)).toBe(7)
})

test('a pause ends early without a failure', async () => {
  await pause(1)
  const controller = new AbortController()
  const paused = pause(1_000_000, controller.signal)
  controller.abort(new Error('over'))
  await paused
  await pause(1_000_000, controller.signal)
})
