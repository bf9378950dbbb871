// Clocks on walls: what they show, when they are set, when they first come to a time.
import { expect, test } from 'vitest'
import { instantOf, offsetAt, setBetween, wallOf, zoneProblem } from '../../../gateway/plans/wall-clock.ts'

const at = (text: string): number => Date.parse(`${text}Z`)

test('shows milliseconds, and years long ago', () => {
  expect(wallOf('Europe/Berlin', at('2026-11-05T06:00:01.234'))).toBe(at('2026-11-05T07:00:01.234'))
  expect(wallOf('Asia/Kathmandu', at('2026-11-05T20:00'))).toBe(at('2026-11-06T01:45'))
  expect(wallOf('UTC', at('1969-12-31T23:59:59.999'))).toBe(at('1969-12-31T23:59:59.999'))
  expect(offsetAt('Pacific/Chatham', at('2026-06-01T00:00'))).toBe(12.75 * 3_600_000)
})

test('finds when it is set, to the millisecond', () => {
  expect(setBetween('Europe/Berlin', at('2027-03-27T00:00'), at('2027-03-29T00:00'))).toBe(at('2027-03-28T01:00'))
  expect(setBetween('Europe/Berlin', at('2027-03-28T01:00'), at('2027-03-29T00:00'))).toBeNull()
})

test('comes to a time that it skips when it is set, and to one that it shows twice the first time', () => {
  expect(instantOf('Europe/Berlin', at('2027-03-28T02:30'))).toBe(at('2027-03-28T01:00'))
  expect(instantOf('Europe/Berlin', at('2027-03-28T03:00'))).toBe(at('2027-03-28T01:00'))
  expect(instantOf('Europe/Berlin', at('2027-03-28T03:01'))).toBe(at('2027-03-28T01:01'))
  expect(instantOf('Europe/Berlin', at('2027-10-31T02:30'))).toBe(at('2027-10-31T00:30'))
  expect(instantOf('Europe/Berlin', at('2027-10-31T03:00'))).toBe(at('2027-10-31T02:00'))
  expect(instantOf('Pacific/Apia', at('2011-12-30T12:00'))).toBe(at('2011-12-30T10:00'))
})

test('a zone that is not in the data is UTC, and says so', () => {
  expect(wallOf('Mars/Base', at('2026-11-05T06:00'))).toBe(at('2026-11-05T06:00'))
  expect(zoneProblem('Mars/Base')).toContain('"Mars/Base"')
  expect(zoneProblem('Europe/Berlin')).toBeNull()
})
