// Durations as people write them.
import { expect, test } from 'vitest'
import { durationMs, durationText } from '../../../protocol/host/duration.ts'

test('seconds, minutes, hours and days', () => {
  expect(['90s', '15m', '8h', '7d', '0s'].map(durationMs)).toEqual([90_000, 900_000, 28_800_000, 604_800_000, 0])
})

test.each(['', '8', 'h', '8 h', '-1h', '1.5h', '8w', '8h30m', '1e3s', '1234567s', '８h', ' 8h'])(
  '"%s" is none',
  (text) => {
    expect(() => durationMs(text)).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
  },
)

test('they are read in the largest unit that still says enough', () => {
  const known: readonly (readonly [number, string])[] = [
    [-5, '0 s'],
    [0, '0 s'],
    [40_400, '40 s'],
    [119_000, '119 s'],
    [120_000, '2 min'],
    [119 * 60_000, '119 min'],
    [2 * 3_600_000, '2 h'],
    [47 * 3_600_000, '47 h'],
    [48 * 3_600_000, '2 days'],
  ]
  for (const [ms, text] of known) expect(durationText(ms)).toBe(text)
})
