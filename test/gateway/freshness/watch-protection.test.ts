// Damage, verification and locks: when each is told, and when it is over. Method: plain data.
import { describe, expect, test } from 'vitest'
import { damageVerdicts, lockVerdicts, verifyVerdict } from '../../../gateway/freshness/watch-protection.ts'

const DAY_MS = 24 * 3_600_000

describe('damage', () => {
  const valueOf = (lostBytes: number, before: string | null = null): string | null =>
    damageVerdicts(
      {
        machines: [{ tenant: 't', tenantName: 'acme', machine: 'db1', points: 3, lostBytes }],
        tenants: [],
      },
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

  test('of records that belong to no machine yet is the tenant’s', () => {
    const [verdict] = damageVerdicts(
      { machines: [], tenants: [{ tenant: 't', tenantName: 'acme', records: 1 }] },
      () => null,
    )
    expect(verdict).toMatchObject({ key: 'damage', machine: null, holding: { severity: 'error', value: '0' } })
    expect(verdict!.holding!.text).toContain('one record of tenant acme')
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
