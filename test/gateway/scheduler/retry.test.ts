// What is tried again, how often, and never past the next slot.
import { expect, test } from 'vitest'
import { ATTEMPTS_MAX, isPassing, isWait, retryAt } from '../../../gateway/scheduler/retry.ts'

const MINUTE_MS = 60_000
const asked = { code: 'QMP_TIMEOUT', attempts: 1, nowMs: 0, nextSlotMs: null }

test('after 1, 2, 5, 10 minutes, five times at most', () => {
  const waits = [1, 2, 3, 4, 5].map((attempts) => retryAt({ ...asked, attempts }))
  expect(waits).toEqual([MINUTE_MS, 2 * MINUTE_MS, 5 * MINUTE_MS, 10 * MINUTE_MS, null])
  expect(ATTEMPTS_MAX).toBe(5)
})

test('never past the next slot', () => {
  expect(retryAt({ ...asked, nextSlotMs: MINUTE_MS })).toBeNull()
  expect(retryAt({ ...asked, nextSlotMs: MINUTE_MS + 1 })).toBe(MINUTE_MS)
})

test.each([
  'QMP_TIMEOUT',
  'CONNECTION_LOST',
  'LEASE_LOST',
  'STORE_FULL',
  'FREEZE_REQUIRED',
  'SCRATCH_LOW',
  'DATA_DAMAGED',
])('%s may pass', (code) => expect(isPassing(code)).toBe(true))

test.each([
  'FULL_REFUSED',
  'QUOTA_EXCEEDED',
  'DISK_LEFT_OUT',
  'CANCELLED',
  'NOT_FOUND',
  'CONFIG_INVALID',
  'UNHEARD_OF',
  'toString',
])('%s does not', (code) => expect(retryAt({ ...asked, code })).toBeNull())

test('what is no failure waits', () => {
  expect(['AGENT_OFFLINE', 'JOB_RUNNING', 'MACHINE_MOVING', 'TOO_MANY_REQUESTS', 'EXISTS'].every(isWait)).toBe(true)
  expect(['QMP_TIMEOUT', 'FULL_REFUSED'].some(isWait)).toBe(false)
})
