// Durations as people write them.
import { expect, test } from 'vitest'
import { durationMs } from '../../../gateway/commands/duration.ts'

test('seconds, minutes, hours and days', () => {
  expect(['90s', '15m', '8h', '7d', '0s'].map(durationMs)).toEqual([90_000, 900_000, 28_800_000, 604_800_000, 0])
})

test.each(['', '8', 'h', '8 h', '-1h', '1.5h', '8w', '8h30m', '1e3s', '1234567s', '８h', ' 8h'])(
  '"%s" is none',
  (text) => {
    expect(() => durationMs(text)).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
  },
)
