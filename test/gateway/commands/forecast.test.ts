// The forecast as people read it.
import { expect, test } from 'vitest'
import { forecastLines } from '../../../gateway/commands/forecast.ts'
import type { StoreForecast } from '../../../protocol/forecast.ts'

const GIB = 2 ** 30
const DISK = { freeBytes: 60 * GIB, totalBytes: 100 * GIB, reserveBytes: GIB }

const line = (forecast: Pick<StoreForecast, 'daysLeft' | 'bytesPerDay' | 'reason'>): string =>
  forecastLines({ ...DISK, ...forecast })[1]!

test('says how full the disk is, and when it will be', () => {
  const [disk] = forecastLines({ ...DISK, daysLeft: null, bytesPerDay: null, reason: 'history' })
  expect(disk).toBe('The disk has 60.0 GiB of 100 GiB free; uploads leave 1.0 GiB of that.')
  const grows = 'What is used of it grows by 2.0 GiB a day'
  expect(line({ daysLeft: 29, bytesPerDay: 2 * GIB, reason: null })).toBe(
    `${grows}: the reserve is reached in 29 days.`,
  )
  expect(line({ daysLeft: 1, bytesPerDay: 2 * GIB, reason: null })).toBe(`${grows}: the reserve is reached in 1 day.`)
  expect(line({ daysLeft: 0, bytesPerDay: null, reason: null })).toContain('uploads are refused')
  expect(line({ daysLeft: null, bytesPerDay: null, reason: 'history' })).toContain('a week')
  expect(line({ daysLeft: null, bytesPerDay: -GIB, reason: 'growth' })).toBe(
    'What is used of it shrinks by 1.0 GiB a day: the reserve is not reached within ten years.',
  )
  expect(line({ daysLeft: null, bytesPerDay: 1, reason: 'far' })).toContain('not reached within ten years')
})
