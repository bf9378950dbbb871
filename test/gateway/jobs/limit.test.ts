// What is named as limiting, from both accounts of the same time.
import { expect, test } from 'vitest'
import { limitOf } from '../../../gateway/jobs/limit.ts'

const spent = (readingMs: number, compressingMs: number, sendingMs: number, answersMs: number) => ({
  overMs: readingMs + compressingMs + sendingMs + answersMs,
  readingMs,
  compressingMs,
  sendingMs,
  answersMs,
})
const idle = { overMs: 100, heldMs: 5 }
const busy = { overMs: 100, heldMs: 95 }

test('what took most of the time is named; a wait is the link’s unless the gateway had something in hand', () => {
  expect(limitOf(spent(60, 20, 10, 10), busy)).toBe('reading')
  expect(limitOf(spent(20, 60, 10, 10), busy)).toBe('compressing')
  expect(limitOf(spent(30, 10, 60, 0), idle)).toBe('link')
  expect(limitOf(spent(30, 10, 60, 0), busy)).toBe('gateway')
  // neither waits is the largest part alone, both together are
  expect(limitOf(spent(40, 0, 30, 30), idle)).toBe('link')
  expect(limitOf(spent(40, 0, 30, 30), { overMs: 100, heldMs: 50 })).toBe('gateway')
})

test('nothing is named where nothing was spent, or an older agent tells nothing and the gateway is not busy', () => {
  expect(limitOf(spent(0, 0, 0, 0), busy)).toBeNull()
  expect(limitOf(null, idle)).toBeNull()
  expect(limitOf(null, { overMs: 100, heldMs: 80 })).toBeNull()
  expect(limitOf(null, busy)).toBe('gateway')
  expect(limitOf(null, { overMs: 0, heldMs: 0 })).toBeNull()
})
