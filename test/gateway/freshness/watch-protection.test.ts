// Damage, verification and locks: when each is told, and when it is over. Method: plain data.
import { describe, expect, test } from 'vitest'
import {
  ATTRIBUTED_MS,
  damageVerdicts,
  lockVerdicts,
  verifyVerdict,
} from '../../../gateway/freshness/watch-protection.ts'

const DAY_MS = 24 * 3_600_000

describe('damage', () => {
  const valueOf = (lostBytes: number, before: string | null = null): string | null =>
    damageVerdicts(
      {
        machines: [{ tenant: 't', tenantName: 'acme', machine: 'db1', points: 3, lostBytes }],
        tenants: [],
      },
      0,
      () => before,
    )[0]!.holding?.value ?? null

  test('is told when it is found, and again only where it is ten times as much', () => {
    const first = valueOf(65_536)
    expect(first).not.toBeNull()
    expect([valueOf(80_000, first), valueOf(131_072, first)]).toEqual([first, valueOf(131_072)])
    expect(Number(valueOf(6_553_600, first))).toBe(Number(first) + 2)
  })

  test('less of it is no news, and none of it is good', () => {
    const more = valueOf(65_536_000)
    expect([valueOf(65_536, more), valueOf(0, more)]).toEqual([more, null])
  })

  test('of records is told of the tenant where no machine shows it, once there was time to find out', () => {
    const db1 = { tenant: 't', tenantName: 'acme', machine: 'db1', points: 1, lostBytes: 1 }
    const of = (nowMs: number, { shown = false, records = 1, before = null as string | null } = {}) =>
      damageVerdicts(
        { machines: shown ? [db1] : [], tenants: [{ tenant: 't', tenantName: 'acme', records, foundMs: 1000 }] },
        nowMs,
        (_, key) => (key === 'damage' ? before : null),
      ).find(({ key }) => key === 'damage')!
    const late = 1000 + ATTRIBUTED_MS
    expect([of(late - 1).holding, of(late, { shown: true }).holding]).toEqual([null, null])
    expect(of(late)).toMatchObject({ machine: null, holding: { severity: 'error', value: '0' } })
    expect(of(late).holding!.text).toContain('one record of tenant acme')
    // once told it stays until all is healed
    expect(of(late, { shown: true, before: '0' }).holding).not.toBeNull()
    expect(of(late, { records: 0, before: '0' }).holding).toBeNull()
  })
})

describe('verification', () => {
  const stale = (days: readonly (number | null)[], before: string | null = null) =>
    verifyVerdict(
      {
        tenant: 't',
        name: 'acme',
        machines: days.map((age, index) => ({
          machine: `m${index}`,
          verifyDays: 30,
          oldestMs: age === null ? null : age * DAY_MS,
        })),
      },
      () => before,
    ).holding

  test('is stale past what the plan says and a margin, and good again within the plan', () => {
    expect([stale([29, 35.9]), stale([null])]).toEqual([null, null])
    expect(stale([10, 36.1, 40])).toMatchObject({ value: 'stale', data: { machines: 2 } })
    expect(stale([10, 31], 'stale')).not.toBeNull()
    expect(stale([10, 29.9], 'stale')).toBeNull()
  })

  test('names a machine, the age and the way out', () => {
    expect(stale([40, 50])?.text).toMatch(/2 machines of tenant acme \(m0, \.\.\.\) .* 50 days.*verify --tenant acme/u)
  })
})

describe('locks', () => {
  const NOW = 1000 * DAY_MS
  const verdictOf = (daysLeft: number, lockDays: number) =>
    lockVerdicts([{ tenant: 't', machine: 'db1', lockDays, lastMs: NOW + daysLeft * DAY_MS }], NOW)[0]!
  const valueOf = (daysLeft: number, lockDays = 0): string | null =>
    verdictOf(daysLeft, lockDays).holding?.value ?? null

  test('a plan that locks each night is never told of, though a lock ends every day', () => {
    expect([valueOf(30, 30), valueOf(29, 30), valueOf(2, 3), valueOf(1, 1)]).toEqual([null, null, null, null])
  })

  test('where no newer lock comes it is told, and stays until one is there', () => {
    expect([valueOf(6.9, 30), valueOf(-1, 30), valueOf(-100, 30), valueOf(30, 30)]).toEqual([
      'soon',
      'ended',
      'ended',
      null,
    ])
    expect(verdictOf(6, 30).holding?.severity).toBe('warning')
  })

  test('where the plan locks nothing it is told once before the end, and over with the lock', () => {
    expect([valueOf(8), valueOf(6), valueOf(0)]).toEqual([null, 'soon', null])
    expect(verdictOf(6, 0).holding?.severity).toBe('info')
    expect(verdictOf(0, 0).good).toContain('has ended')
  })
})
