// What matches, when it may be told, and when what could not be sent is tried again.
import { expect, test } from 'vitest'
import { nextAttempt, RETRY_FIRST_MS, RETRY_MAX_MS, RETRY_TOTAL_MS } from '../../../gateway/notify/backoff.ts'
import { matches, routeOf, worse } from '../../../gateway/notify/match.ts'
import { quietProblem, quietUntil } from '../../../gateway/notify/quiet.ts'
import type { Match, Rule } from '../../../protocol/notify.ts'
import { HOUR_MS, MINUTE_MS, NOON_MS } from './stand.ts'

const EVENT = { kind: 'machine.state', severity: 'warning', machine: 'db1', group: 'web' } as const

test.each<[Match, boolean]>([
  [{}, true],
  [{ severity: 'info' }, true],
  [{ severity: 'error' }, false],
  [{ kinds: ['damage', 'machine.state'] }, true],
  [{ kinds: ['damage'] }, false],
  [{ machines: ['web*', 'db?'] }, true],
  [{ machines: ['db'] }, false],
  [{ groups: ['w*'], machines: ['db*'] }, true],
  [{ groups: ['x*'], machines: ['db*'] }, false],
  [{ not: { machines: ['db*'] } }, false],
  [{ any: [{ severity: 'error' }, { groups: ['web'] }] }, true],
  [{ all: [{ severity: 'error' }, { groups: ['web'] }] }, false],
  [{ all: [{ any: [{ kinds: ['damage'] }, { not: { severity: 'error' } }] }], not: { groups: ['db'] } }, true],
])('%j: %s', (match, expected) => {
  expect(matches(match, EVENT)).toBe(expected)
})

test('what concerns no machine fits no pattern of machines', () => {
  const event = { ...EVENT, machine: null, group: null }
  expect(matches({ machines: ['*'] }, event)).toBe(false)
  expect(matches({ not: { machines: ['*'] } }, event)).toBe(true)
})

const rule = (rest: Partial<Rule>): Rule => ({
  name: 'r',
  match: {},
  targets: ['a'],
  quiet: null,
  repeatMs: null,
  ...rest,
})

test('the rule that lets it through first counts, and the shortest repeat', () => {
  const quiet = { window: '00:00-13:00', timeZone: 'UTC' }
  const late = rule({ quiet, repeatMs: HOUR_MS })
  const soon = rule({ repeatMs: 2 * HOUR_MS })
  const at = (rules: Rule[]) => routeOf({ rules, mutes: [] }, 'a', EVENT, NOON_MS)
  expect(at([late])).toEqual({ atMs: NOON_MS + HOUR_MS, muted: false, repeatMs: HOUR_MS })
  expect(at([late, soon])).toEqual({ atMs: NOON_MS, muted: false, repeatMs: HOUR_MS })
  expect(at([rule({ targets: ['b'] }), rule({ match: { severity: 'error' } })])).toBeNull()
})

test('a mute holds back until its end, the longest of several; one that has ended does not', () => {
  const mute = (match: Match, untilMs: number) =>
    ({ id: 'm', by: 'ann', reason: 'x', match, sinceMs: 0, untilMs }) as never
  const at = (mutes: never[]) => routeOf({ rules: [rule({})], mutes }, 'a', EVENT, NOON_MS)
  const [one, two] = [mute({}, NOON_MS + 1), mute({ machines: ['db*'] }, NOON_MS + 5)]
  expect(at([one, two, mute({ machines: ['x'] }, NOON_MS + 9)])).toMatchObject({ atMs: NOON_MS + 5, muted: true })
  expect(at([mute({}, NOON_MS)])).toMatchObject({ atMs: NOON_MS, muted: false })
})

test('quiet hours end by the wall of their zone, twice a year an hour sooner or later', () => {
  const quiet = { window: '22:00-07:00', timeZone: 'Europe/Berlin' }
  const from = (text: string) => new Date(quietUntil(quiet, Date.parse(text))).toISOString()
  expect(from('2027-01-10T12:00:00Z')).toBe('2027-01-10T12:00:00.000Z')
  expect(from('2027-01-10T22:00:00Z')).toBe('2027-01-11T06:00:00.000Z')
  expect(from('2027-03-27T22:00:00Z')).toBe('2027-03-28T05:00:00.000Z')
  expect(from('2027-10-30T22:00:00Z')).toBe('2027-10-31T06:00:00.000Z')
  const weekend = { window: 'Sat-Sun', timeZone: 'Asia/Kathmandu' }
  expect(new Date(quietUntil(weekend, Date.parse('2027-01-09T12:00:00Z'))).toISOString()).toBe(
    '2027-01-10T18:15:00.000Z',
  )
})

test('quiet hours of a zone that is not known any more keep nothing back', () => {
  expect(quietUntil({ window: '00:00-24:00', timeZone: 'Mars/Olympus' }, 5)).toBe(5)
})

test('quiet hours that nobody understands, or that never end, are said', () => {
  expect(quietProblem({ window: '22:00-07:00', timeZone: 'UTC' })).toBeNull()
  expect(quietProblem({ window: 'at night', timeZone: 'UTC' })).toContain('at night')
  expect(quietProblem({ window: 'Mon-Sun', timeZone: 'UTC' })).toContain('never end')
})

test('attempts are a minute apart at first, six hours at last, and end after a day', () => {
  const waits: number[] = []
  let nowMs = NOON_MS
  for (let attempts = 1; ; attempts++) {
    const nextMs = nextAttempt(attempts, NOON_MS, nowMs)
    if (nextMs === null) break
    waits.push(nextMs - nowMs)
    nowMs = nextMs
  }
  expect(waits[0]).toBe(RETRY_FIRST_MS)
  expect(waits.slice(0, 4)).toEqual([1, 2, 4, 8].map((minutes) => minutes * MINUTE_MS))
  expect(Math.max(...waits)).toBe(RETRY_MAX_MS)
  expect(nowMs - NOON_MS).toBeLessThanOrEqual(RETRY_TOTAL_MS)
  expect(nowMs - NOON_MS).toBeGreaterThan(RETRY_TOTAL_MS - RETRY_MAX_MS)
})

test('the worse of two severities', () => {
  expect([worse('info', 'error'), worse('error', 'warning'), worse('warning', 'info')]).toEqual([
    'error',
    'error',
    'warning',
  ])
})
