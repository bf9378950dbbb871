// Instants as people read them.
import { expect, test } from 'vitest'
import { utcText } from '../../../protocol/host/instant.ts'

test('are in UTC to the second', () => {
  expect(utcText(Date.UTC(2026, 1, 3, 4, 5, 6, 789))).toBe('2026-02-03 04:05:06')
})
