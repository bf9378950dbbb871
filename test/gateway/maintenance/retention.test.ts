// The plan of retention: tables worked out by hand, clocks that jump, weeks at the turn of the year, and what holds for any
// points and rules.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isOff, planRetention, protectedBy, type PlannedPoint } from '../../../gateway/maintenance/retention.ts'
import { KEEP_OFF, type KeepRules, type PruneRules } from '../../../protocol/plans.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

const pointAt = (time: string | number, more: Partial<PlannedPoint> = {}): PlannedPoint => {
  const timeMs = typeof time === 'number' ? time : Date.parse(time)
  return {
    id: String(time),
    timeMs,
    seq: timeMs,
    held: false,
    lockedUntilMs: null,
    damaged: false,
    checkpoint: true,
    empty: false,
    inUse: false,
    usedUntilMs: null,
    ...more,
  }
}

/** Rules, with the zone whose clock counts. */
type Said = Partial<KeepRules> & { readonly timeZone?: string }

const rulesOf = ({ timeZone = 'UTC', ...keep }: Said): PruneRules => ({ keep: { ...KEEP_OFF, ...keep }, timeZone })

/** What the plan keeps, newest first, as `time: reasons`; the reason that every newest point has is left out. */
const kept = (points: readonly PlannedPoint[], rules: Said, nowMs = 2 ** 50): string[] =>
  planRetention(points, rulesOf(rules), nowMs)
    .map(({ point, keptBy }) => [point.id, keptBy.filter((reason) => reason !== 'last-good').join(' ')])
    .filter(([, reasons]) => reasons !== '')
    .map(([id, reasons]) => `${id}: ${reasons}`)

const at = (times: readonly string[]): PlannedPoint[] => times.map((time) => pointAt(time))

describe('tables worked out by hand', () => {
  test('each rule takes what the ones before it left: last, then hours, days, weeks, months, years', () => {
    const points = at([
      '2026-11-20T12:40Z', // last
      '2026-11-20T12:10Z', // last
      '2026-11-20T12:00Z', // its hour is covered by the two before
      '2026-11-20T11:50Z', // newest of its hour
      '2026-11-20T11:10Z',
      '2026-11-20T09:30Z', // hour 10 has none and does not count
      '2026-11-20T08:30Z', // a third hour is not asked for, and the day is covered
      '2026-11-19T23:59Z', // newest of its day
      '2026-11-19T00:00Z',
      '2026-11-17T01:00Z', // the 18th has none and does not count
      '2026-11-16T01:00Z', // Monday of week 47, which is covered
      '2026-11-15T23:00Z', // Sunday: newest of week 46
      '2026-11-09T01:00Z', // Monday of week 46
      '2026-11-08T12:00Z', // newest of week 45
      '2026-11-01T12:00Z', // November is covered; week 44 is not asked for
      '2026-10-31T23:59Z', // newest of October
      '2026-08-05T00:00Z', // September has none: newest of August
      '2026-08-04T00:00Z',
      '2026-07-04T00:00Z', // 2026 is covered
      '2025-12-31T23:59Z', // newest of 2025
      '2025-01-01T00:00Z',
      '2023-06-01T00:00Z', // 2024 has none
      '2022-06-01T00:00Z',
    ])
    const rules = { last: 2, hourly: 2, daily: 2, weekly: 2, monthly: 2, yearly: 2 }
    expect(kept(points, rules)).toEqual([
      '2026-11-20T12:40Z: last',
      '2026-11-20T12:10Z: last',
      '2026-11-20T11:50Z: hourly',
      '2026-11-20T09:30Z: hourly',
      '2026-11-19T23:59Z: daily',
      '2026-11-17T01:00Z: daily',
      '2026-11-15T23:00Z: weekly',
      '2026-11-08T12:00Z: weekly',
      '2026-10-31T23:59Z: monthly',
      '2026-08-05T00:00Z: monthly',
      '2025-12-31T23:59Z: yearly',
      '2023-06-01T00:00Z: yearly',
    ])
  })

  test('a rule alone counts its periods from the newest point, not from now', () => {
    const points = at(['2020-03-05T10:00Z', '2020-03-05T09:00Z', '2020-03-04T10:00Z', '2020-03-01T10:00Z'])
    expect(kept(points, { daily: 2 })).toEqual(['2020-03-05T10:00Z: daily', '2020-03-04T10:00Z: daily'])
    expect(kept(points, { last: 1 })).toEqual(['2020-03-05T10:00Z: last'])
    expect(kept(points, { last: 99 })).toHaveLength(4)
  })

  test('a week that lies in two months does not keep a month from its own newest point', () => {
    // week 5 of 2026 is 26 January to 1 February
    const points = at(['2026-02-01T12:00Z', '2026-01-31T12:00Z', '2026-01-20T12:00Z'])
    expect(kept(points, { weekly: 1, monthly: 2 })).toEqual(['2026-02-01T12:00Z: weekly', '2026-01-31T12:00Z: monthly'])
  })

  test('within counts back from the newest point, to the millisecond, and takes nothing from the other rules', () => {
    const newest = Date.parse('2026-11-20T12:00Z')
    const points = [newest, newest - DAY_MS, newest - 2 * DAY_MS, newest - 2 * DAY_MS - 1].map((ms) => pointAt(ms))
    expect(kept(points, { withinDays: 2 })).toEqual(points.slice(0, 3).map(({ id }) => `${id}: within`))
    expect(kept(points, { withinDays: 0.5, daily: 2 })).toEqual([
      `${newest}: daily within`,
      `${newest - DAY_MS}: daily`,
    ])
  })

  test('rules that are all off keep everything, whatever the zone says', () => {
    const points = at(['2026-11-20T12:00Z', '2020-01-01T00:00Z'])
    expect(kept(points, { timeZone: 'Asia/Tokyo' })).toEqual([
      '2026-11-20T12:00Z: no-rules',
      '2020-01-01T00:00Z: no-rules',
    ])
    expect(isOff(KEEP_OFF)).toBe(true)
    expect(planRetention([], rulesOf({}), 0)).toEqual([])
    expect(planRetention([], rulesOf({ last: 1 }), 0)).toEqual([])
  })

  test('points of the same instant are told apart by the order in which they were made', () => {
    const points = ['b', 'a', 'c'].map((id, index) => pointAt(5, { id, seq: index + 1 }))
    expect(kept(points, { last: 1 })).toEqual(['c: last'])
    expect(kept(points.toReversed(), { last: 1 })).toEqual(['c: last'])
  })
})

describe('weeks at the turn of the year', () => {
  test.each([
    // 2020 has 53 weeks: 28 December 2020 to 3 January 2021
    [
      ['2021-01-04T00:00Z', '2021-01-03T23:59Z', '2021-01-01T00:00Z', '2020-12-28T00:00Z', '2020-12-27T23:59Z'],
      [0, 1, 4],
    ],
    // 31 December 2024 is in week 1 of 2025
    [
      ['2025-01-05T00:00Z', '2024-12-31T00:00Z', '2024-12-30T00:00Z', '2024-12-29T00:00Z'],
      [0, 3],
    ],
    // 1 January 2027 is in week 53 of 2026; 1 January 2023 in week 52 of 2022
    [
      ['2027-01-03T00:00Z', '2027-01-01T00:00Z', '2026-12-28T00:00Z', '2026-12-27T00:00Z'],
      [0, 3],
    ],
    [
      ['2023-01-02T00:00Z', '2023-01-01T00:00Z', '2022-12-26T00:00Z', '2022-12-25T00:00Z'],
      [0, 1, 3],
    ],
  ])('%j', (times, weeks) => {
    expect(kept(at(times), { weekly: 9 })).toEqual(weeks.map((index) => `${times[index]}: weekly`))
  })
})

describe('the policy’s own time zone', () => {
  test('a day begins at midnight of the zone', () => {
    // midnight of 20 November is 23:00Z in Berlin, 15:00Z in Tokyo, 05:00Z in New York, 18:15Z in Kathmandu
    const points = at(['2026-11-20T05:00Z', '2026-11-20T04:59Z', '2026-11-19T23:00Z', '2026-11-19T22:59Z'])
    const days = (timeZone: string): string[] => kept(points, { daily: 9, timeZone }).map((row) => row.slice(0, 17))
    expect(days('UTC')).toEqual(['2026-11-20T05:00Z', '2026-11-19T23:00Z'])
    expect(days('Europe/Berlin')).toEqual(['2026-11-20T05:00Z', '2026-11-19T22:59Z'])
    expect(days('America/New_York')).toEqual(['2026-11-20T05:00Z', '2026-11-20T04:59Z'])
    expect(days('Asia/Tokyo')).toEqual(['2026-11-20T05:00Z'])
    const nepal = at(['2026-11-19T18:15Z', '2026-11-19T18:14Z'])
    expect(kept(nepal, { daily: 9, timeZone: 'Asia/Kathmandu' })).toHaveLength(2)
  })

  test('a day of 23 hours has 23 of them, and one of 25 has 24: the hour that the clock repeats is one', () => {
    // Berlin: 29 March 2026 from 2 to 3, 25 October 2026 from 3 to 2
    const hours = (from: string, count: number): PlannedPoint[] =>
      Array.from({ length: count }, (_, index) => pointAt(Date.parse(from) + index * HOUR_MS))
    const rules = { hourly: 99, timeZone: 'Europe/Berlin' }
    expect(kept(hours('2026-03-28T23:00Z', 23), rules)).toHaveLength(23)
    expect(kept(hours('2026-03-28T23:00Z', 23), { daily: 9, timeZone: 'Europe/Berlin' })).toHaveLength(1)
    expect(kept(hours('2026-10-24T22:00Z', 25), rules)).toHaveLength(24)
    expect(kept(hours('2026-10-24T22:00Z', 25), { daily: 9, timeZone: 'Europe/Berlin' })).toHaveLength(1)
    expect(kept(hours('2026-10-24T22:00Z', 26), { daily: 9, timeZone: 'Europe/Berlin' })).toHaveLength(2)
    // 00:30Z and 01:30Z are both half past two
    expect(kept(at(['2026-10-25T01:30Z', '2026-10-25T00:30Z']), rules)).toEqual(['2026-10-25T01:30Z: hourly'])
  })

  test('a clock that jumps by half an hour, and a day that a zone never had', () => {
    // Lord Howe: 4 October 2026 from 2:00 to 2:30; 15:45Z is 2:45
    expect(
      kept(at(['2026-10-03T15:45Z', '2026-10-03T15:15Z']), { hourly: 9, timeZone: 'Australia/Lord_Howe' }),
    ).toEqual(['2026-10-03T15:45Z: hourly', '2026-10-03T15:15Z: hourly'])
    // Apia went from 29 to 31 December 2011
    const apia = at(['2011-12-30T10:30Z', '2011-12-30T09:30Z'])
    expect(kept(apia, { daily: 9, timeZone: 'Pacific/Apia' })).toHaveLength(2)
  })

  test('weeks, months and years turn by the zone’s clock as well', () => {
    const points = at(['2027-01-01T04:00Z', '2026-12-31T23:30Z', '2026-12-31T22:30Z'])
    expect(kept(points, { yearly: 9, timeZone: 'Europe/Berlin' })).toHaveLength(2)
    expect(kept(points, { yearly: 9, timeZone: 'America/New_York' })).toHaveLength(1)
    expect(kept(points, { monthly: 9, timeZone: 'America/New_York' })).toHaveLength(1)
    const monday = at(['2026-11-16T00:30Z', '2026-11-15T23:30Z', '2026-11-15T22:30Z'])
    expect(kept(monday, { weekly: 9 })).toHaveLength(2)
    expect(kept(monday, { weekly: 9, timeZone: 'Europe/Berlin' })).toEqual([
      '2026-11-16T00:30Z: weekly',
      '2026-11-15T22:30Z: weekly',
    ])
  })
})

describe('what stays though no rule keeps it', () => {
  const rules = { last: 1 }

  test('held, locked and in use, each by its name; a lock only until its time', () => {
    const points = [
      pointAt(9),
      pointAt(8, { held: true }),
      pointAt(7, { lockedUntilMs: 101 }),
      pointAt(6, { lockedUntilMs: 100 }),
      pointAt(5, { inUse: true, held: true }),
    ]
    expect(kept(points, rules, 100)).toEqual(['9: last', '8: held', '7: locked', '5: held in-use'])
    expect(points.map((point) => protectedBy(point, 100))).toEqual([[], ['held'], ['locked'], [], ['held', 'in-use']])
  })

  test('the newest point without damage stays, however old; without one, rules alone decide', () => {
    const plan = (damaged: number[]): string[] =>
      planRetention(
        [9, 8, 7].map((ms) => pointAt(ms, { damaged: damaged.includes(ms) })),
        rulesOf(rules),
        10,
      ).map(({ point, keptBy }) => `${point.id}: ${keptBy.join(' ')}`)
    expect(plan([])).toEqual(['9: last last-good', '8: ', '7: '])
    expect(plan([9])).toEqual(['9: last', '8: last-good', '7: '])
    expect(plan([9, 8])).toEqual(['9: last', '8: ', '7: last-good'])
    expect(plan([9, 8, 7])).toEqual(['9: last', '8: ', '7: '])
  })
})

describe('the point that the next backup continues', () => {
  /** The plan for points made one after another, the newest first: `c` has a checkpoint, `-` has none. */
  const plan = (kinds: string, rules: Said, more: Record<number, Partial<PlannedPoint>> = {}): string[] =>
    planRetention(
      kinds
        .split('')
        .map((kind, index) =>
          pointAt(kinds.length - index, { checkpoint: kind === 'c', ...more[kinds.length - index] }),
        ),
      rulesOf(rules),
      100,
    ).map(({ point, keptBy }) => `${point.id}: ${keptBy.join(' ')}`)

  test.each([
    // a machine that was always running: nothing changes
    ['ccc', ['3: last last-good', '2: ', '1: ']],
    // off since the second point: it is what the next increment continues
    ['--cc', ['4: last last-good', '3: ', '2: next-base', '1: ']],
    // a later point with a checkpoint takes its place
    ['c--cc', ['5: last last-good', '4: ', '3: ', '2: ', '1: ']],
    ['-c-c', ['4: last last-good', '3: next-base', '2: ', '1: ']],
    // a machine that is only ever read has nothing to continue
    ['---', ['3: last last-good', '2: ', '1: ']],
  ])('%s', (kinds, expected) => {
    expect(plan(kinds, { last: 1 })).toEqual(expected)
  })

  test('it is named beside the rules that keep it, damaged or not, with rules or without', () => {
    expect(plan('-cc', { last: 2 })).toEqual(['3: last last-good', '2: last next-base', '1: '])
    expect(plan('--cc', { last: 1 }, { 2: { damaged: true } })[2]).toBe('2: next-base')
    expect(plan('-c', {})).toEqual(['2: no-rules last-good', '1: no-rules next-base'])
  })

  test('points that stand for no other do not make it one, and are none', () => {
    expect(plan('-cc', { last: 1 }, { 3: { empty: true } })).toEqual(['3: ', '2: last last-good', '1: '])
    expect(plan('-cc', { last: 1 }, { 3: { timeMs: 101 } })).toEqual(['3: future', '2: last last-good', '1: '])
    expect(plan('-cc', { last: 1 }, { 2: { empty: true } })).toEqual(['3: last last-good', '2: ', '1: next-base'])
  })

  test('a person who names it may remove it', () => {
    expect(protectedBy(pointAt(1), 100)).toEqual([])
  })
})

test('a point in which there is nothing to restore stands for no other', () => {
  const points = [pointAt(9, { empty: true }), pointAt(8, { damaged: true }), pointAt(7), pointAt(6)]
  const plan = (rules: Said): string[] =>
    planRetention(points, rulesOf(rules), 10).map(({ point, keptBy }) => `${point.id}: ${keptBy.join(' ')}`)
  expect(plan({ last: 1 })).toEqual(['9: ', '8: last', '7: last-good', '6: '])
  expect(plan({ daily: 1 })).toEqual(['9: ', '8: daily', '7: last-good', '6: '])
  expect(plan({ withinDays: 1 / DAY_MS })).toEqual(['9: within', '8: within', '7: within last-good', '6: '])
  expect(plan({})).toEqual(['9: no-rules', '8: no-rules', '7: no-rules last-good', '6: no-rules'])
})

describe('for any points and rules', () => {
  const ZONES = ['UTC', 'Europe/Berlin', 'America/St_Johns', 'Australia/Lord_Howe', 'Pacific/Apia', '+05:45']
  const from = Date.parse('2024-12-20T00:00Z')
  const NOW_MS = from + 1000 * DAY_MS
  const anyTime = fc.oneof(
    fc.integer({ min: 0, max: 3 * 24 * 60 }),
    fc.integer({ min: 0, max: 60 * 24 * 60 }),
    fc.integer({ min: 0, max: 800 * 24 * 60 }),
  )
  const anyPoint = fc.record({
    minutes: anyTime,
    held: fc.boolean(),
    lockedUntilMs: fc.option(fc.integer({ min: NOW_MS - 5, max: NOW_MS + 5 })),
    damaged: fc.boolean(),
    checkpoint: fc.boolean(),
    empty: fc.boolean(),
    inUse: fc.boolean(),
    usedUntilMs: fc.option(fc.integer({ min: NOW_MS - 5, max: NOW_MS + 5 })),
  })
  const anyPoints = fc.array(anyPoint, { maxLength: 60 }).map((list) =>
    list.map(({ minutes, ...rest }, index) => {
      const timeMs = from + minutes * 60_000
      return pointAt(timeMs, { id: `p${index}`, seq: timeMs * 100 + index, ...rest })
    }),
  )
  const bare = anyPoints.map((points) =>
    points.map((point) => ({
      ...point,
      held: false,
      lockedUntilMs: null,
      damaged: false,
      checkpoint: true,
      empty: false,
      inUse: false,
      usedUntilMs: null,
    })),
  )
  const few = fc.integer({ min: 0, max: 6 })
  const anyRules = fc
    .record({
      last: few,
      hourly: few,
      daily: few,
      weekly: few,
      monthly: few,
      yearly: few,
      withinDays: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 40, noNaN: true })),
      timeZone: fc.constantFrom(...ZONES),
    })
    .map(rulesOf)
  const idsKept = (points: readonly PlannedPoint[], rules: PruneRules): string[] =>
    planRetention(points, rules, NOW_MS)
      .filter(({ keptBy }) => keptBy.length > 0)
      .map(({ point }) => point.id)

  test('every point is planned once, newest first, and the order in which they come makes no difference', () => {
    fc.assert(
      fc.property(anyPoints, anyRules, (points, rules) => {
        const plan = planRetention(points, rules, NOW_MS)
        expect(plan.map(({ point }) => point.id).toSorted()).toEqual(points.map(({ id }) => id).toSorted())
        const times = plan.map(({ point }) => point.timeMs)
        expect(times).toEqual(times.toSorted((a, b) => b - a))
        expect(planRetention(points.toReversed(), rules, NOW_MS)).toEqual(plan)
      }),
    )
  })

  test('pruning what is left removes nothing more', () => {
    fc.assert(
      fc.property(anyPoints, anyRules, (points, rules) => {
        const first = idsKept(points, rules)
        const left = points.filter(({ id }) => first.includes(id))
        expect(idsKept(left, rules)).toEqual(first)
      }),
    )
  })

  test('points from the future, there or not, change nothing for the others, and stay', () => {
    fc.assert(
      fc.property(anyPoints, anyRules, fc.integer({ min: 0, max: 800 }), (points, rules, days) => {
        const nowMs = from + days * DAY_MS
        const others = points.filter(({ timeMs }) => timeMs <= nowMs)
        const plan = planRetention(points, rules, nowMs)
        expect(plan.filter(({ point }) => point.timeMs <= nowMs)).toEqual(planRetention(others, rules, nowMs))
        for (const { point, keptBy } of plan) expect(keptBy.includes('future')).toBe(point.timeMs > nowMs)
      }),
    )
  })

  test('numbers of creation that agree with the times change nothing', () => {
    fc.assert(
      fc.property(anyPoints, anyRules, (points, rules) => {
        const order = points.toSorted((a, b) => a.seq - b.seq)
        const numbered = order.map((point, index) => ({ ...point, seq: index + 1 }))
        expect(idsKept(numbered, rules)).toEqual(idsKept(points, rules))
      }),
    )
  })

  test('points in which there is nothing to restore, there or not, change nothing for the others', () => {
    fc.assert(
      fc.property(anyPoints, anyRules, (points, rules) => {
        const others = points.filter(({ empty }) => !empty)
        const plan = planRetention(points, rules, NOW_MS).filter(({ point }) => !point.empty)
        expect(plan).toEqual(planRetention(others, rules, NOW_MS))
      }),
    )
  })

  test('the newest point, the newest good one and all that is held, locked or in use stay', () => {
    fc.assert(
      fc.property(anyPoints, anyRules, (points, rules) => {
        const ids = idsKept(points, rules)
        const order = planRetention(points, rules, NOW_MS).map(({ point }) => point)
        const isLater = (ms: number | null): boolean => (ms ?? 0) > NOW_MS
        const mustStay = points.filter(
          (one) => one.held || one.inUse || isLater(one.lockedUntilMs) || isLater(one.usedUntilMs),
        )
        const whole = order.filter(({ empty }) => !empty)
        const newest = [whole[0], whole.find(({ damaged }) => !damaged)].filter((one) => one !== undefined)
        for (const { id } of [...mustStay, ...newest]) expect(ids).toContain(id)
      }),
    )
  })

  test('a hold, a lock or a wider within removes nothing that would stay without it', () => {
    fc.assert(
      fc.property(anyPoints, anyRules, fc.double({ min: 0, max: 99, noNaN: true }), (points, rules, days) => {
        const plain = points.map((point) => ({
          ...point,
          held: false,
          lockedUntilMs: null,
          inUse: false,
          usedUntilMs: null,
        }))
        const before = idsKept(plain, rules)
        expect(idsKept(points, rules)).toEqual(expect.arrayContaining(before))
        if (isOff(rules.keep)) return
        const wider = { ...rules, keep: { ...rules.keep, withinDays: rules.keep.withinDays + days } }
        expect(idsKept(plain, wider)).toEqual(expect.arrayContaining(before))
      }),
    )
  })

  const FIELDS = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const

  test('to keep more of anything keeps at least as many points', () => {
    fc.assert(
      fc.property(bare, anyRules, fc.constantFrom(...FIELDS), (points, rules, field) => {
        if (isOff(rules.keep)) return
        const more = { ...rules, keep: { ...rules.keep, [field]: rules.keep[field] + 1 } }
        expect(idsKept(points, more).length).toBeGreaterThanOrEqual(idsKept(points, rules).length)
      }),
      { numRuns: 2000 },
    )
  })

  test('where no week lies across what is kept, to keep more keeps all that was kept', () => {
    const withoutWeeks = anyRules.map((rules) => ({ ...rules, keep: { ...rules.keep, weekly: 0 } }))
    fc.assert(
      fc.property(bare, withoutWeeks, fc.constantFrom(...FIELDS), (points, rules, field) => {
        if (isOff(rules.keep) || field === 'weekly') return
        const more = { ...rules, keep: { ...rules.keep, [field]: rules.keep[field] + 1 } }
        expect(idsKept(points, more)).toEqual(expect.arrayContaining(idsKept(points, rules)))
      }),
      { numRuns: 1000 },
    )
  })

  test('each counted rule keeps at most its number, and exactly it where there are periods enough', () => {
    fc.assert(
      fc.property(bare, few, fc.constantFrom('UTC'), (points, count, timeZone) => {
        if (count === 0) return
        const days = new Set(points.map(({ timeMs }) => Math.floor(timeMs / DAY_MS)))
        expect(idsKept(points, rulesOf({ daily: count, timeZone }))).toHaveLength(Math.min(count, days.size))
        const hours = new Set(points.map(({ timeMs }) => Math.floor(timeMs / HOUR_MS)))
        expect(idsKept(points, rulesOf({ hourly: count, timeZone }))).toHaveLength(Math.min(count, hours.size))
      }),
    )
  })
})

describe('clocks', () => {
  const NOON = Date.parse('2026-11-20T12:00Z')
  const real = at(['2026-11-20T00:00Z', '2026-11-19T00:00Z', '2026-11-18T00:00Z', '2026-11-10T00:00Z'])

  test('a point from the future stays, and stands for no other', () => {
    const points = [pointAt('2100-01-01T00:00Z'), ...real]
    const plan = (rules: Said): string[] =>
      planRetention(points, rulesOf(rules), NOON).map(({ point, keptBy }) => `${point.id}: ${keptBy.join(' ')}`)
    const [newest, ...older] = real.map(({ id }) => id)
    expect(plan({ last: 1 })).toEqual([
      '2100-01-01T00:00Z: future',
      `${newest}: last last-good`,
      ...older.map((id) => `${id}: `),
    ])
    expect(plan({ yearly: 1 }).slice(0, 2)).toEqual(['2100-01-01T00:00Z: future', `${newest}: yearly last-good`])
    expect(plan({ withinDays: 3 })).toEqual([
      '2100-01-01T00:00Z: future',
      `${newest}: within last-good`,
      `${older[0]}: within`,
      `${older[1]}: within`,
      `${older[2]}: `,
    ])
    expect(plan({})[0]).toBe('2100-01-01T00:00Z: no-rules future')
    // one that is alone as well: no rule counts it, and it is no good one
    expect(kept([points[0]!], { last: 1 }, NOON)).toEqual(['2100-01-01T00:00Z: future'])
  })

  test('it is from the future by a millisecond, and not when its time has come', () => {
    const points = [pointAt(NOON + 1, { id: 'f', seq: 1 }), pointAt(NOON, { id: 'n', seq: 2 })]
    expect(kept(points, { last: 1 }, NOON)).toEqual(['n: last', 'f: future'])
    expect(kept(points, { last: 1 }, NOON + 1)).toEqual(['n: last'])
  })

  test('with a clock that was set back all that was made since is from the future, and stays', () => {
    const rules = { last: 1, daily: 1 }
    expect(kept(real, rules, Date.parse('2026-11-18T12:00Z'))).toEqual([
      `${real[0]!.id}: future`,
      `${real[1]!.id}: future`,
      `${real[2]!.id}: last`,
      `${real[3]!.id}: daily`,
    ])
  })

  /** Points in the order of their creation. */
  const made = (times: readonly string[]): PlannedPoint[] =>
    times.map((time, index) => pointAt(time, { seq: index + 1, id: `${index + 1} of ${time}` }))

  test('when its time has come it is as old as the order of creation says, and displaces nothing of its day', () => {
    // made on the 18th by a clock that said the 21st
    const points = made([
      '2026-11-17T00:00Z',
      '2026-11-21T06:00Z',
      '2026-11-19T00:00Z',
      '2026-11-20T00:00Z',
      '2026-11-21T00:00Z',
    ])
    const now = Date.parse('2026-11-21T12:00Z')
    expect(kept(points, { last: 2 }, now)).toEqual(['5 of 2026-11-21T00:00Z: last', '4 of 2026-11-20T00:00Z: last'])
    expect(kept(points, { daily: 4 }, now)).toEqual([
      '5 of 2026-11-21T00:00Z: daily',
      '4 of 2026-11-20T00:00Z: daily',
      '3 of 2026-11-19T00:00Z: daily',
      '1 of 2026-11-17T00:00Z: daily',
    ])
    // no other is of its day
    const before = points.slice(0, 4)
    expect(kept(before, { daily: 2 }, now)).toEqual(['4 of 2026-11-20T00:00Z: daily', '3 of 2026-11-19T00:00Z: daily'])
  })

  test('one that a clock dated too early is as young as the order of creation says', () => {
    // made on the 20th by a clock that said January
    const points = made(['2026-01-31T00:00Z', '2026-11-19T00:00Z', '2026-11-20T00:00Z', '2026-01-31T12:00Z'])
    const now = Date.parse('2026-11-21T12:00Z')
    expect(kept(points, { last: 2 }, now)).toEqual(['4 of 2026-01-31T12:00Z: last', '3 of 2026-11-20T00:00Z: last'])
    expect(kept(points, { monthly: 2 }, now)).toEqual([
      '4 of 2026-01-31T12:00Z: monthly',
      '1 of 2026-01-31T00:00Z: monthly',
    ])
    expect(kept(points, { withinDays: 2 }, now)).toEqual([
      '4 of 2026-01-31T12:00Z: within',
      '3 of 2026-11-20T00:00Z: within',
      '2 of 2026-11-19T00:00Z: within',
    ])
  })
})
