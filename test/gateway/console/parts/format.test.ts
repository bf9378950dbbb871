// Sizes, durations and instants in words.
import { expect, test } from 'vitest'
import {
  agoText,
  bytesText,
  dayText,
  durationText,
  percentText,
  plainText,
  timeText,
  zonedText,
} from '../../../../gateway/console/parts/format.ts'

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.00 KiB'],
  [1_047_552, '1.00 MiB'],
  [4.02 * 2 ** 30, '4.02 GiB'],
  [99.94 * 2 ** 20, '99.9 MiB'],
  [312 * 2 ** 20, '312 MiB'],
  [2 ** 60, '1024 PiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(bytesText(bytes)).toBe(text)
})

test.each([
  [-5, '0 ms'],
  [400, '400 ms'],
  [59_999, '59 s'],
  [60_000, '1 min'],
  [3 * 3_600_000 + 12 * 60_000, '3 h 12 min'],
  [26 * 3_600_000, '1 d 2 h'],
  [20.5 * 86_400_000, '20 d'],
])('%d ms are %s', (ms, text) => {
  expect(durationText(ms)).toBe(text)
})

test('an instant is an age or a wait', () => {
  const nowMs = 1_800_000_000_000
  expect(agoText(nowMs - 30_000, nowMs)).toBe('just now')
  expect(agoText(nowMs - 7_200_000, nowMs)).toBe('2 h ago')
  expect(agoText(nowMs + 10_000, nowMs)).toBe('in less than a minute')
  expect(agoText(nowMs + 1_200_000, nowMs)).toBe('in 20 min')
})

test('an instant has the date of its zone', () => {
  const timeMs = Date.UTC(2026, 10, 29, 23, 30)
  expect(timeText(timeMs, 'UTC')).toBe('2026-11-29 23:30')
  expect(timeText(timeMs, 'Asia/Kathmandu')).toBe('2026-11-30 05:15')
  expect(zonedText(timeMs, 'UTC')).toBe('2026-11-29 23:30 (UTC)')
  expect(dayText(timeMs, 'Asia/Kathmandu')).toBe('2026-11-30')
})

test('a small share keeps a digit', () => {
  expect([percentText(0.034), percentText(0.5)]).toEqual(['3.4 %', '50 %'])
})

test('what turns writing around is seen, and other scripts stay as they are', () => {
  expect(plainText('a\u202edetcefnoc\u0000\u200b')).toBe('a\ufffddetcefnoc\ufffd\ufffd')
  expect(plainText('Grüße, سلام\u200c, line\nbreak\t<b>')).toBe('Grüße, سلام\u200c, line\nbreak\t<b>')
})
