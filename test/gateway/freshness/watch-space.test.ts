// Quotas and the disk: when each is told, when it is good again, and that a figure at a limit does not flap. Method: figures.
import { describe, expect, test } from 'vitest'
import { diskVerdict, quotaVerdicts, type QuotaSeen } from '../../../gateway/freshness/watch-space.ts'

const SEEN: QuotaSeen = {
  tenant: 't',
  name: 'acme',
  usedBytes: 500,
  softBytes: 800,
  hardBytes: 1000,
  refused: false,
  daysLeft: null,
}

/** The values that hold of a tenant, by kind; `before` are the kinds that hold with their values. */
const valuesOf = (seen: Partial<QuotaSeen>, before: Record<string, string> = {}): Record<string, string> =>
  Object.fromEntries(
    quotaVerdicts([{ ...SEEN, ...seen }], (_tenant, key) => before[key] ?? null).flatMap(({ kind, holding }) =>
      holding === null ? [] : [[kind, holding.value] as const],
    ),
  )

describe('quotas', () => {
  test('soft and hard hold from the limit on, and end only well below it', () => {
    expect(valuesOf({ usedBytes: 799 })).toEqual({})
    expect(valuesOf({ usedBytes: 800 })).toEqual({ 'quota.soft': 'over' })
    expect(valuesOf({ usedBytes: 1000 })).toEqual({ 'quota.soft': 'over', 'quota.hard': 'full' })
    const held = { 'quota.soft': 'over', 'quota.hard': 'full' }
    expect(valuesOf({ usedBytes: 975 }, held)).toEqual(held)
    expect(valuesOf({ usedBytes: 960 }, held)).toEqual({ 'quota.soft': 'over' })
    expect(valuesOf({ usedBytes: 770 }, held)).toEqual({})
  })

  test('an upload that was refused tells that the quota is used up, though the last bytes of it were never taken', () => {
    expect(valuesOf({ usedBytes: 700, refused: true })).toEqual({ 'quota.hard': 'full' })
  })

  test('without a limit nothing holds, and what held ends', () => {
    const none = { softBytes: null, hardBytes: null, usedBytes: 5000, daysLeft: 1 }
    expect(valuesOf(none, { 'quota.soft': 'over', 'quota.hard': 'full', 'quota.forecast': 'soon' })).toEqual({})
  })

  test('a forecast is told two weeks before and again three days before, and not what is full already', () => {
    expect(valuesOf({ daysLeft: 14.1 })).toEqual({})
    expect(valuesOf({ daysLeft: 13.9 })).toEqual({ 'quota.forecast': 'soon' })
    expect(valuesOf({ daysLeft: 2 })).toEqual({ 'quota.forecast': 'urgent' })
    expect(valuesOf({ daysLeft: 16 }, { 'quota.forecast': 'soon' })).toEqual({ 'quota.forecast': 'soon' })
    expect(valuesOf({ daysLeft: 22 }, { 'quota.forecast': 'soon' })).toEqual({})
    expect(valuesOf({ usedBytes: 1000, daysLeft: 0 })['quota.forecast']).toBeUndefined()
  })

  test('each says the way out by name, and how bad it is', () => {
    const verdicts = quotaVerdicts([{ ...SEEN, usedBytes: 1000 }], () => null)
    expect(verdicts.map(({ holding }) => holding?.severity ?? null)).toEqual(['warning', 'error', null])
    for (const { holding } of verdicts) if (holding !== null) expect(holding.text).toContain('tenant quota acme')
    expect(verdicts[2]!.good).toContain('no forecast any more')
  })
})

describe('the disk', () => {
  const GIB = 2 ** 30
  const valueOf = (freeGib: number, daysLeft: number | null, before: string | null = null): string | null =>
    diskVerdict({ freeBytes: freeGib * GIB, reserveBytes: 10 * GIB, daysLeft }, () => before).holding?.value ?? null

  test('below its reserve holds until it is clearly above', () => {
    expect([valueOf(10.1, null), valueOf(9.9, null)]).toEqual([null, 'below'])
    expect([valueOf(10.5, null, 'below'), valueOf(11.1, null, 'below')]).toEqual(['below', null])
  })

  test('soon below is told days before, and what was below is soon so as long as it is near', () => {
    expect([valueOf(50, 15), valueOf(50, 10), valueOf(12, 1)]).toEqual([null, 'soon', 'urgent'])
    expect([valueOf(12, 4, 'below'), valueOf(30, 18, 'below'), valueOf(80, 40, 'below')]).toEqual([
      'urgent',
      'soon',
      null,
    ])
    expect(valueOf(50, 18, 'soon')).toBe('soon')
  })

  test('without a reserve nothing is below it', () => {
    expect(diskVerdict({ freeBytes: 0, reserveBytes: 0, daysLeft: null }, () => null).holding).toBeNull()
  })
})
