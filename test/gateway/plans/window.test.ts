// When backups may start: what texts mean, over midnight, over the week and over every kind of clock change.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { closesAt, isOpen, lastOpen, nextOpen, windowProblem } from '../../../gateway/plans/window.ts'

const MINUTE_MS = 60_000
const at = (text: string): number => Date.parse(`${text}Z`)
const shown = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString().slice(0, 16))

// Thursday, 5 November 2026
describe('what texts mean', () => {
  test.each([
    ['22:00-06:00', ['2026-11-05T22:00', '2026-11-06T05:59'], ['2026-11-05T21:59', '2026-11-06T06:00']],
    ['9:30-17:00', ['2026-11-05T09:30', '2026-11-05T16:59'], ['2026-11-05T09:29', '2026-11-05T17:00']],
    ['00:00-24:00', ['2026-11-05T00:00', '2026-11-05T23:59'], []],
    ['22:00-24:00', ['2026-11-05T23:59'], ['2026-11-06T00:00']],
    ['Sat-Sun', ['2026-11-07T00:00', '2026-11-08T23:59'], ['2026-11-06T23:59', '2026-11-09T00:00']],
    ['sat-MON', ['2026-11-07T00:00', '2026-11-09T23:59'], ['2026-11-06T23:59', '2026-11-10T00:00']],
    // it belongs to the day on which it begins: the night from Friday to Saturday, not that from Saturday to Sunday
    ['Mon-Fri 20:00-06:00', ['2026-11-06T20:00', '2026-11-07T05:59'], ['2026-11-07T20:00', '2026-11-09T05:59']],
    ['Sun 22:00-06:00', ['2026-11-08T22:00', '2026-11-09T05:59'], ['2026-11-08T05:00', '2026-11-09T06:00']],
    ['Mon,Wed,Sat-Sun 1:00-2:00', ['2026-11-07T01:00', '2026-11-09T01:30'], ['2026-11-05T01:30', '2026-11-07T02:00']],
    [
      ' Mon-Fri 20:00 - 06:00 ;Sat-Sun',
      ['2026-11-05T20:00', '2026-11-07T12:00', '2026-11-09T20:00'],
      ['2026-11-05T19:59', '2026-11-09T06:00'],
    ],
  ])('%s', (window, open, closed) => {
    expect(windowProblem(window)).toBeNull()
    for (const instant of open) expect([instant, isOpen(window, 'UTC', at(instant))]).toEqual([instant, true])
    for (const instant of closed) expect([instant, isOpen(window, 'UTC', at(instant))]).toEqual([instant, false])
  })

  test.each([
    '',
    ';',
    '22:00',
    '22:00-22:00',
    '25:00-26:00',
    '10:60-11:00',
    '24:00-06:00',
    'Foo',
    'Mon-',
    'Mon-Tue-Wed',
    'Mon 22-6',
    '22:00-06:00;',
  ])('refused: "%s"', (window) => {
    expect(windowProblem(window)).toContain('not understood')
    // a plan that is stored with it goes on
    expect(isOpen(window, 'UTC', 0)).toBe(true)
    expect(nextOpen(window, 'UTC', 5)).toBe(5)
    expect(closesAt(window, 'UTC', 5)).toBeNull()
  })

  test('none is always', () => {
    expect(isOpen(null, 'UTC', 0)).toBe(true)
    expect(nextOpen(null, 'UTC', 5)).toBe(5)
    expect(closesAt(null, 'UTC', 5)).toBeNull()
    expect(closesAt('00:00-24:00', 'UTC', 5)).toBeNull()
  })
})

describe('when it opens and closes', () => {
  test.each([
    // [window, zone, from, opens, closes behind that]
    ['22:00-06:00', 'UTC', '2026-11-05T12:00', '2026-11-05T22:00', '2026-11-06T06:00'],
    ['22:00-06:00', 'UTC', '2026-11-05T23:10', '2026-11-05T23:10', '2026-11-06T06:00'],
    ['Sat-Sun', 'Europe/Berlin', '2026-11-05T12:00', '2026-11-06T23:00', '2026-11-08T23:00'],
    ['Mon-Fri 20:00-06:00; Sat-Sun', 'UTC', '2026-11-05T12:00', '2026-11-05T20:00', '2026-11-06T06:00'],
    ['Mon-Fri 20:00-06:00; Sat-Sun', 'UTC', '2026-11-06T12:00', '2026-11-06T20:00', '2026-11-09T00:00'],
    // one hour less of night, and one more
    ['22:00-06:00', 'Europe/Berlin', '2027-03-27T12:00', '2027-03-27T21:00', '2027-03-28T04:00'],
    ['22:00-06:00', 'Europe/Berlin', '2027-10-30T12:00', '2027-10-30T20:00', '2027-10-31T05:00'],
    // it begins in what is skipped, ends in it, and is skipped
    ['02:30-04:00', 'Europe/Berlin', '2027-03-28T00:00', '2027-03-28T01:00', '2027-03-28T02:00'],
    ['01:00-02:30', 'Europe/Berlin', '2027-03-27T12:00', '2027-03-28T00:00', '2027-03-28T01:00'],
    ['02:10-02:50', 'Europe/Berlin', '2027-03-28T00:00', '2027-03-29T00:10', '2027-03-29T00:50'],
    // it is shown twice
    ['02:10-02:50', 'Europe/Berlin', '2027-10-31T00:00', '2027-10-31T00:10', '2027-10-31T00:50'],
    ['02:10-02:50', 'Europe/Berlin', '2027-10-31T00:50', '2027-10-31T01:10', '2027-10-31T01:50'],
    ['02:45-04:00', 'Europe/Berlin', '2027-10-31T00:00', '2027-10-31T00:45', '2027-10-31T01:00'],
    ['01:45-03:00', 'Australia/Lord_Howe', '2027-04-03T14:00', '2027-04-03T14:45', '2027-04-03T15:00'],
    ['Fri', 'Pacific/Apia', '2011-12-29T00:00', '2012-01-05T10:00', '2012-01-06T10:00'],
  ])('%s in %s from %s', (window, zone, from, opens, closes) => {
    const opensMs = nextOpen(window, zone, at(from))
    expect(shown(opensMs)).toBe(opens)
    expect(shown(closesAt(window, zone, opensMs))).toBe(closes)
  })

  test('the last opening before an instant, as far as it lies behind another', () => {
    const last = (from: string, before: string): (string | null)[] | null => {
      const found = lastOpen('22:00-06:00', 'UTC', { fromMs: at(from), beforeMs: at(before) })
      return found === null ? null : [shown(found.opensMs), shown(found.closesMs)]
    }
    expect(last('2026-11-05T12:00', '2026-11-07T12:00')).toEqual(['2026-11-06T22:00', '2026-11-07T06:00'])
    expect(last('2026-11-05T12:00', '2026-11-07T02:00')).toEqual(['2026-11-06T22:00', '2026-11-07T02:00'])
    expect(last('2026-11-07T01:00', '2026-11-07T12:00')).toEqual(['2026-11-07T01:00', '2026-11-07T06:00'])
    expect(last('2026-11-07T07:00', '2026-11-07T12:00')).toBeNull()
    expect(lastOpen(null, 'UTC', { fromMs: 5, beforeMs: 9 })).toEqual({ opensMs: 5, closesMs: 9, looks: 1 })
  })
})

test('agrees with a look at every minute', () => {
  const windows = ['22:00-06:00', 'Sat-Sun', 'Mon-Fri 20:00-06:00; Sat-Sun', '02:10-02:50', 'Sun 00:00-03:00', 'Fri']
  const zones = [
    ['Europe/Berlin', '2027-03-27T00:00'],
    ['Europe/Berlin', '2027-10-30T00:00'],
    ['Australia/Lord_Howe', '2026-10-02T00:00'],
    ['Antarctica/Troll', '2027-10-30T00:00'],
    ['Pacific/Apia', '2011-12-28T00:00'],
    ['America/Santiago', '2026-04-03T00:00'],
  ] as const
  const minutes = fc.integer({ min: 0, max: 3 * 24 * 60 })
  fc.assert(
    fc.property(fc.constantFrom(...windows), fc.constantFrom(...zones), minutes, (window, [zone, from], behind) => {
      const fromMs = at(from) + behind * MINUTE_MS
      const open = isOpen(window, zone, fromMs)
      const changeMs = open ? closesAt(window, zone, fromMs)! : nextOpen(window, zone, fromMs)
      expect(changeMs).toBeGreaterThan(fromMs)
      expect(isOpen(window, zone, changeMs)).toBe(!open)
      for (let ms = fromMs; ms < changeMs; ms += MINUTE_MS) expect(isOpen(window, zone, ms)).toBe(open)
    }),
    { numRuns: 20 },
  )
}, 30_000)
