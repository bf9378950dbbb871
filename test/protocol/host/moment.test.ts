// Times in the past as a person types them.
import { expect, test } from 'vitest'
import { momentOf } from '../../../protocol/host/moment.ts'

test('a time is a date with a time, or how long ago; a second is meant whole, as points are shown', () => {
  const nowMs = Date.UTC(2026, 0, 1, 12)
  expect(momentOf('now', nowMs)).toBe('now')
  expect(momentOf('90m', nowMs)).toBe(Date.UTC(2026, 0, 1, 10, 30))
  expect(momentOf('2026-01-01T10:00:05Z', nowMs)).toBe(Date.UTC(2026, 0, 1, 10, 0, 5, 999))
  expect(momentOf('2026-01-01T10:00:05.1Z', nowMs)).toBe(Date.UTC(2026, 0, 1, 10, 0, 5, 100))
  for (const text of ['', 'yesterday', '10:00', '2026-02-30 10:00', '1.5h'])
    expect(() => momentOf(text)).toThrow('not a time')
})
