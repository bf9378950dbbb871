// When schedules come next: golden tables for every kind of clock change, and a comparison with a walk over every minute that
// knows nothing of the way it is computed.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nextRun, scheduleProblem } from '../../../gateway/plans/next-run.ts'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

/** The next runs behind an instant, in UTC to the minute. */
const runs = (schedule: string, zone: string, after: string, count: number): string[] => {
  const found: string[] = []
  for (let atMs: number | null = Date.parse(after); found.length < count;) {
    atMs = nextRun(schedule, zone, atMs)
    if (atMs === null) break
    expect(atMs % MINUTE_MS).toBe(0)
    found.push(new Date(atMs).toISOString().slice(0, 16))
  }
  return found
}

/** One row a case: what it shows, schedule, zone, instant behind which it is asked, runs in UTC. */
type Row = readonly [what: string, schedule: string, zone: string, after: string, ...runs: string[]]

const golden = (rows: readonly Row[]): void =>
  test.each(rows.map(([what, ...row]) => ({ what, row })))('$what', ({ row: [schedule, zone, after, ...found] }) => {
    expect(runs(schedule, zone, `${after}Z`, found.length)).toEqual(found)
  })

describe('a clock that is set ahead', () => {
  // prettier-ignore
  golden([
    ['Berlin: 02:30 is skipped, and comes at 03:00', '30 2 * * *', 'Europe/Berlin', '2027-03-27T00:00', '2027-03-27T01:30', '2027-03-28T01:00', '2027-03-29T00:30'],
    ['New York: several skipped times come once', '0,15,30 2 * * *', 'America/New_York', '2027-03-14T05:00', '2027-03-14T07:00', '2027-03-15T06:00'],
    ['New York: 03:00 and the skipped 02:00 are one', '0 2,3 * * *', 'America/New_York', '2027-03-14T05:00', '2027-03-14T07:00', '2027-03-15T06:00', '2027-03-15T07:00'],
    ['Berlin: quarters of a skipped hour come once', '*/15 2 * * *', 'Europe/Berlin', '2027-03-28T00:00', '2027-03-28T01:00', '2027-03-29T00:00', '2027-03-29T00:15'],
    ['Berlin: each hour that passes', '0 * * * *', 'Europe/Berlin', '2027-03-27T23:30', '2027-03-28T00:00', '2027-03-28T01:00', '2027-03-28T02:00'],
    ['Berlin: every four hours of real time', 'every 4h', 'Europe/Berlin', '2027-03-27T22:00', '2027-03-28T00:00', '2027-03-28T04:00', '2027-03-28T08:00'],
    ['Berlin: every second midnight', 'every 2d', 'Europe/Berlin', '2027-03-26T22:00', '2027-03-26T23:00', '2027-03-28T22:00', '2027-03-30T22:00'],
    ['Lord Howe: half an hour', '15 2 * * *', 'Australia/Lord_Howe', '2026-10-02T20:00', '2026-10-03T15:30', '2026-10-04T15:15'],
    ['Lord Howe: an hour of half an hour', '30 * * * *', 'Australia/Lord_Howe', '2026-10-03T14:10', '2026-10-03T15:00', '2026-10-03T15:30', '2026-10-03T16:30'],
    ['Troll: two hours', '30 1 * * *', 'Antarctica/Troll', '2027-03-27T12:00', '2027-03-28T01:00', '2027-03-28T23:30'],
    ['Chatham: 45 minutes', '50 2 * * *', 'Pacific/Chatham', '2026-09-25T00:00', '2026-09-25T14:05', '2026-09-26T14:00', '2026-09-27T13:05'],
    ['Beirut: at midnight', '0 0 * * *', 'Asia/Beirut', '2026-03-27T12:00', '2026-03-27T22:00', '2026-03-28T22:00', '2026-03-29T21:00'],
    ['Beirut: days at midnight', 'every 1d', 'Asia/Beirut', '2026-03-27T12:00', '2026-03-27T22:00', '2026-03-28T22:00', '2026-03-29T21:00'],
    ['Santiago: at midnight', '30 0 * * *', 'America/Santiago', '2026-09-04T12:00', '2026-09-05T04:30', '2026-09-06T04:00', '2026-09-07T03:30'],
    ['Sao Paulo, 2018: at midnight', '0 0 * * *', 'America/Sao_Paulo', '2018-11-03T12:00', '2018-11-04T03:00', '2018-11-05T02:00'],
    ['Moscow, 2011: for good', '30 2 * * *', 'Europe/Moscow', '2011-03-26T00:00', '2011-03-26T23:00', '2011-03-27T22:30', '2011-03-28T22:30'],
    ['Casablanca: back after Ramadan', '30 2 * * *', 'Africa/Casablanca', '2026-03-21T00:00', '2026-03-21T02:30', '2026-03-22T02:00', '2026-03-23T01:30'],
    ['Apia, 2011: the day that was left out has no run', '0 2 * * *', 'Pacific/Apia', '2011-12-29T00:00', '2011-12-29T12:00', '2011-12-30T12:00'],
    ['Apia, 2011: and no half of one', '0 */12 * * *', 'Pacific/Apia', '2011-12-29T21:00', '2011-12-29T22:00', '2011-12-30T10:00', '2011-12-30T22:00'],
  ])
})

describe('a clock that is set back', () => {
  // prettier-ignore
  golden([
    ['Berlin: 02:30 is shown twice, and comes once', '30 2 * * *', 'Europe/Berlin', '2027-10-30T00:00', '2027-10-30T00:30', '2027-10-31T00:30', '2027-11-01T01:30'],
    ['Berlin: asked in the second hour', '45 2 * * *', 'Europe/Berlin', '2027-10-31T01:10', '2027-11-01T01:45'],
    ['Berlin: half hours of real time', '*/30 * * * *', 'Europe/Berlin', '2027-10-30T23:50', '2027-10-31T00:00', '2027-10-31T00:30', '2027-10-31T01:00', '2027-10-31T01:30', '2027-10-31T02:00'],
    ['New York: once', '30 1 * * *', 'America/New_York', '2027-11-07T00:00', '2027-11-07T05:30', '2027-11-08T06:30'],
    ['Lord Howe: half an hour', '45 1 * * *', 'Australia/Lord_Howe', '2027-04-03T00:00', '2027-04-03T14:45', '2027-04-04T15:15'],
    ['Lord Howe: a minute that is shown twice in half an hour', '45 * * * *', 'Australia/Lord_Howe', '2027-04-03T14:00', '2027-04-03T14:45', '2027-04-03T15:15', '2027-04-03T16:15'],
    ['Troll: two hours', '30 2 * * *', 'Antarctica/Troll', '2027-10-30T12:00', '2027-10-31T00:30', '2027-11-01T02:30'],
    ['Chatham: 45 minutes', '0 3 * * *', 'Pacific/Chatham', '2027-04-02T00:00', '2027-04-02T13:15', '2027-04-03T13:15', '2027-04-04T14:15'],
    ['Santiago: back over midnight', '30 23 * * *', 'America/Santiago', '2026-04-03T12:00', '2026-04-04T02:30', '2026-04-05T02:30', '2026-04-06T03:30'],
    ['Santiago: the day that begins late', 'every 1d', 'America/Santiago', '2026-04-03T12:00', '2026-04-04T03:00', '2026-04-05T04:00', '2026-04-06T04:00'],
    ['Sao Paulo, 2018: back over midnight', '30 23 * * *', 'America/Sao_Paulo', '2018-02-16T12:00', '2018-02-17T01:30', '2018-02-18T01:30', '2018-02-19T02:30'],
    ['Casablanca: as Ramadan begins', '30 2 * * *', 'Africa/Casablanca', '2026-02-14T00:00', '2026-02-14T01:30', '2026-02-15T01:30', '2026-02-16T02:30'],
    ['Moscow, 2014: for good', '30 1 * * *', 'Europe/Moscow', '2014-10-25T00:00', '2014-10-25T21:30', '2014-10-26T22:30'],
  ])
})

describe('calendars', () => {
  // prettier-ignore
  golden([
    ['Kathmandu: 5:45 ahead', '30 2 * * *', 'Asia/Kathmandu', '2026-03-21T00:00', '2026-03-21T20:45', '2026-03-22T20:45'],
    ['months without a 31st have none', '0 0 31 * *', 'UTC', '2026-01-01T00:00', '2026-01-31T00:00', '2026-03-31T00:00', '2026-05-31T00:00'],
    ['leap days, and none in 2100', '0 0 29 2 *', 'UTC', '2095-01-01T00:00', '2096-02-29T00:00', '2104-02-29T00:00'],
    ['both kinds of days: either', '0 0 13 * FRI', 'UTC', '2026-11-05T00:00', '2026-11-06T00:00', '2026-11-13T00:00', '2026-11-20T00:00'],
    ['names and ranges', '0 6 * jan-feb mon-wed', 'UTC', '2026-02-24T07:00', '2026-02-25T06:00', '2027-01-04T06:00'],
    ['Sunday is 0 and 7', '0 6 * * 7', 'UTC', '2026-11-05T00:00', '2026-11-08T06:00', '2026-11-15T06:00'],
    ['never at the instant itself', '0 6 * * *', 'UTC', '2026-11-05T06:00', '2026-11-06T06:00'],
    ['every 90 minutes, from 1970', 'every 90m', 'Europe/Berlin', '2026-11-05T06:00', '2026-11-05T07:30', '2026-11-05T09:00'],
    ['hours of one day of the year', '59 * 1 1 *', 'Europe/Berlin', '2026-01-01T22:50', '2026-01-01T22:59', '2026-12-31T23:59', '2027-01-01T00:59'],
  ])
})

test('a millisecond before it, it is still to come', () => {
  const atMs = Date.parse('2026-11-05T06:00Z')
  expect(nextRun('0 6 * * *', 'UTC', atMs - 1)).toBe(atMs)
  expect(nextRun('0 * * * *', 'UTC', atMs - 1)).toBe(atMs)
  expect(nextRun('every 1h', 'UTC', atMs - 1)).toBe(atMs)
})

test.each([
  ['0 0 30 2 *', 'never comes'],
  ['0 0 31 4,6,9,11 *', 'never comes'],
  ['every 0m', 'once a minute'],
  ['every 30s', 'not understood'],
  ['every 4', 'not understood'],
  ['every 400d', 'at most 366 days'],
  ['0 0 L * *', 'signs'],
  ['0 0 15W * *', 'signs'],
  ['0 0 * * FRI#2', 'signs'],
  ['0 0 ? * +MON', 'signs'],
  ['0 0 * * SUNX', 'signs'],
  ['0 0 * * * *', '6 fields'],
  ['@daily', '1 fields'],
  ['', '1 fields'],
  ['0 25 * * *', 'not understood'],
  ['*/0 * * * *', 'not understood'],
  ['5/5 * * * *', 'not understood'],
  ['0 22-2 * * *', 'not understood'],
])('refused: %s', (schedule, cause) => {
  expect(scheduleProblem(schedule, 'UTC')).toContain(cause)
  expect(nextRun(schedule, 'UTC', 0)).toBeNull()
})

test('a zone that is not in the data is said, and UTC goes on for it', () => {
  expect(scheduleProblem('0 1 * * *', 'Mars/Base')).toContain('UTC is taken for it')
  expect(runs('0 1 * * *', 'Mars/Base', '2026-11-05T06:00Z', 1)).toEqual(['2026-11-06T01:00'])
  expect(scheduleProblem('0 1 * * *', 'Europe/Kiev')).toBeNull()
})

/** The fields of a cron expression as sets, made by hand. */
interface Fields {
  readonly minutes: ReadonlySet<number>
  readonly hours: ReadonlySet<number>
  readonly days: ReadonlySet<number> | null
  readonly weekdays: ReadonlySet<number> | null
}

const textOf = ({ minutes, hours, days, weekdays }: Fields): string => {
  const field = (set: ReadonlySet<number> | null): string => (set === null ? '*' : [...set].join(','))
  return `${field(minutes)} ${hours.size === 24 ? '*' : field(hours)} ${field(days)} * ${field(weekdays)}`
}

/** Runs within `days` behind an instant: looks at the wall every minute, and keeps the latest time that it ever showed. */
const walk = (fields: Fields, zone: string, fromMs: number, days: number): number[] => {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' })
  const wall = (ms: number): number => Date.parse(`${format.format(ms).replace(' ', 'T')}Z`)
  const fits = (wallMs: number): boolean => {
    const date = new Date(wallMs)
    const day = fields.days?.has(date.getUTCDate())
    const weekday = fields.weekdays?.has(date.getUTCDay())
    const onDay = day === undefined || weekday === undefined ? (day ?? weekday ?? true) : day || weekday
    return onDay && fields.hours.has(date.getUTCHours()) && fields.minutes.has(date.getUTCMinutes())
  }
  const found: number[] = []
  let reached = wall(fromMs - DAY_MS)
  for (let ms = fromMs - DAY_MS + MINUTE_MS; ms <= fromMs + days * DAY_MS; ms += MINUTE_MS) {
    const shown = wall(ms)
    if (fields.hours.size === 24) {
      if (fits(shown) && ms > fromMs) found.push(ms)
      continue
    }
    // more than a day at once is a day without a calendar: nothing of it comes
    const passed = shown - reached > DAY_MS ? [shown] : []
    if (passed.length === 0) for (let at = reached + MINUTE_MS; at <= shown; at += MINUTE_MS) passed.push(at)
    if (passed.some(fits) && ms > fromMs) found.push(ms)
    reached = Math.max(reached, shown)
  }
  return found
}

const someOf = (from: number, to: number, most: number): fc.Arbitrary<ReadonlySet<number>> =>
  fc.uniqueArray(fc.integer({ min: from, max: to }), { minLength: 1, maxLength: most }).map((list) => new Set(list))

/** Zones, each with days around which their clocks are set. */
const PLACES = [
  ['Europe/Berlin', '2027-03-27', '2027-10-30'],
  ['America/New_York', '2027-03-13', '2027-11-06'],
  ['Australia/Lord_Howe', '2026-10-03', '2027-04-03'],
  ['Antarctica/Troll', '2027-03-27', '2027-10-30'],
  ['Pacific/Chatham', '2026-09-26', '2027-04-03'],
  ['Pacific/Apia', '2011-12-29', '2012-03-31'],
  ['Africa/Casablanca', '2026-02-14', '2026-03-21'],
  ['Asia/Beirut', '2026-03-28', '2026-10-24'],
  ['America/Santiago', '2026-04-04', '2026-09-05'],
  ['America/Sao_Paulo', '2018-02-17', '2018-11-03'],
  ['Europe/Moscow', '2011-03-26', '2014-10-25'],
  ['Asia/Pyongyang', '2015-08-14', '2018-05-04'],
  ['America/Caracas', '2007-12-08', '2016-04-30'],
  ['America/Scoresbysund', '2024-03-30', '2026-10-24'],
  ['Asia/Kathmandu', '2026-03-28', '2027-01-01'],
  ['UTC', '2026-12-31', '2028-02-28'],
] as const

const asked = fc.record({
  place: fc.constantFrom(...PLACES),
  second: fc.boolean(),
  minuteOfDay: fc.integer({ min: 0, max: 24 * 60 }),
  fields: fc.record({
    minutes: someOf(0, 59, 4),
    hours: fc.oneof(someOf(0, 23, 4), fc.constant(new Set(Array.from({ length: 24 }, (_, hour) => hour)))),
    days: fc.option(someOf(1, 31, 12)),
    weekdays: fc.option(someOf(0, 6, 4)),
  }),
})

test('agrees with a walk over every minute, always ahead and never stuck', () => {
  fc.assert(
    fc.property(asked, ({ place: [zone, first, last], second, minuteOfDay, fields }) => {
      const fromMs = Date.parse(`${second ? last : first}T00:00Z`) - DAY_MS / 2 + minuteOfDay * MINUTE_MS
      const days = 3
      const found: number[] = []
      for (let atMs = nextRun(textOf(fields), zone, fromMs); atMs !== null && atMs <= fromMs + days * DAY_MS;) {
        expect(atMs).toBeGreaterThan(found.at(-1) ?? fromMs)
        found.push(atMs)
        atMs = nextRun(textOf(fields), zone, atMs)
      }
      expect(found).toEqual(walk(fields, zone, fromMs, days))
    }),
    { numRuns: 80 },
  )
}, 60_000)

test('a daily time comes once on each day of eight years, in every zone', () => {
  const zones = PLACES.map(([zone]) => zone)
  fc.assert(
    fc.property(fc.constantFrom(...zones), fc.integer({ min: 0, max: 24 * 60 - 1 }), (zone, minuteOfDay) => {
      const schedule = `${minuteOfDay % 60} ${Math.floor(minuteOfDay / 60)} * * *`
      const format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short' })
      let atMs = Date.parse('2008-01-01T12:00Z')
      let day = ''
      for (let days = 0; days < 8 * 365; days++) {
        const nextMs = nextRun(schedule, zone, atMs)!
        expect(nextMs - atMs).toBeLessThanOrEqual(50 * 60 * MINUTE_MS)
        expect(format.format(nextMs) > day).toBe(true)
        day = format.format(nextMs)
        atMs = nextMs
      }
    }),
    { numRuns: 3 },
  )
}, 60_000)
