// Instants as people write and read them.
import { afterEach, expect, test, vi } from 'vitest'
import { instantMs, utcText } from '../../../protocol/host/instant.ts'

afterEach(() => {
  vi.unstubAllEnvs()
})

test('are in UTC to the second', () => {
  expect(utcText(Date.UTC(2026, 1, 3, 4, 5, 6, 789))).toBe('2026-02-03 04:05:06')
})

test('without a zone they are of this host, also where its clock is put forward and back', () => {
  vi.stubEnv('TZ', 'Europe/Berlin')
  expect(instantMs('2026-11-28')).toBe(Date.UTC(2026, 10, 27, 23))
  expect(instantMs('2026-07-28 14:00')).toBe(Date.UTC(2026, 6, 28, 12))
  expect(instantMs('2026-11-28T14:00:05.25')).toBe(Date.UTC(2026, 10, 28, 13, 0, 5, 250))
  expect(instantMs('2026-11-28 14:00Z')).toBe(Date.UTC(2026, 10, 28, 14))
  expect(instantMs('2026-11-28 14:00:59 -03:30')).toBe(Date.UTC(2026, 10, 28, 17, 30, 59))
  // an hour that is there twice, and one that is not
  expect(instantMs('2026-10-25 02:30')).toBe(Date.UTC(2026, 9, 25, 0, 30))
  expect(instantMs('2026-03-29 02:30')).toBe(Date.UTC(2026, 2, 29, 1, 30))
})

test.each([
  '2026',
  '2026-02-29',
  '2026-11-28 24:00',
  '2026-11-28 10:60',
  '2026-11-28 10:00:61',
  '1969-12-31',
  'noon',
  '',
])('%j is none', (text) => {
  expect(instantMs(text)).toBeNull()
})

test('where a zone is asked for, a date is of UTC and a time has one', () => {
  vi.stubEnv('TZ', 'Europe/Berlin')
  expect(instantMs('2026-11-28', true)).toBe(Date.UTC(2026, 10, 28))
  expect(instantMs('2026-11-28T14:00', true)).toBeNull()
  expect(instantMs('2026-11-28T14:00+01:00', true)).toBe(Date.UTC(2026, 10, 28, 13))
})
