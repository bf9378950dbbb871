// Agents that are away, certificates and tokens that end: when it is told, and when it is over. Method: plain data.
import { describe, expect, test } from 'vitest'
import type { EndingToken } from '../../../gateway/catalog/watching.ts'
import {
  agentVerdicts,
  AWAY_MS,
  BACK_MS,
  certificateVerdict,
  tokenVerdicts,
} from '../../../gateway/freshness/watch-identities.ts'

const DAY_MS = 24 * 3_600_000

describe('an agent', () => {
  const verdictOf = (seen: { online: boolean; forMs: number }, before: string | null = null) =>
    agentVerdicts([{ tenant: 't', id: 'a1', host: 'hv1', machines: 2, seenMs: 1000, ...seen }], () => before)[0]!
  const holds = (online: boolean, forMs: number, before: string | null = null): boolean =>
    verdictOf({ online, forMs }, before).holding !== null

  test('is away after ten minutes, and back once it has stayed', () => {
    expect([holds(false, AWAY_MS - 1), holds(false, AWAY_MS)]).toEqual([false, true])
    expect([holds(true, 0, 'away'), holds(true, BACK_MS - 1, 'away'), holds(true, BACK_MS, 'away')]).toEqual([
      true,
      true,
      false,
    ])
    // it comes and goes
    expect(holds(false, 0, 'away')).toBe(true)
    expect(holds(true, 0)).toBe(false)
  })

  test('is told with its host, what that means and what to do', () => {
    const { holding, good } = verdictOf({ online: false, forMs: AWAY_MS })
    expect(holding?.text).toMatch(/agent of hv1 .* 2 machines are not backed up; .*systemctl start varve-agent/u)
    expect(good).toContain('connected again')
  })
})

describe('a certificate', () => {
  const valueOf = (daysLeft: number, { lifeDays = 90, before = null as string | null } = {}): string | null => {
    const untilMs = 1000 * DAY_MS
    const dates = { fromMs: untilMs - lifeDays * DAY_MS, untilMs }
    return certificateVerdict(dates, untilMs - daysLeft * DAY_MS, () => before).holding?.value ?? null
  }

  test('is told three weeks and three days before its end, and when it has ended', () => {
    expect([22, 20, 3.1, 2.9, 0.5, -0.1].map((days) => valueOf(days))).toEqual([
      null,
      'soon',
      'soon',
      'urgent',
      'urgent',
      'ended',
    ])
  })

  test('one that lives for days is told at the last quarter of that', () => {
    expect([1.6, 1.4, 0.2].map((days) => valueOf(days, { lifeDays: 6 }))).toEqual([null, 'soon', 'urgent'])
  })

  test('a renewed one is good', () => {
    expect(valueOf(80, { before: 'urgent' })).toBeNull()
  })
})

describe('a token', () => {
  const NOW = 1000 * DAY_MS
  const verdictOf = (daysLeft: number, { lifeDays = 90, lastDays = daysLeft } = {}) => {
    const at = (days: number): number => NOW + days * DAY_MS
    const token: EndingToken = {
      tenant: 't',
      tenantName: 'acme',
      id: 'k1',
      subject: 'ci',
      role: 'operator',
      createdMs: at(daysLeft - lifeDays),
      expiresMs: at(daysLeft),
      lastMs: at(lastDays),
    }
    return tokenVerdicts([token], NOW)[0]!
  }
  const valueOf = (...asked: Parameters<typeof verdictOf>): string | null => verdictOf(...asked).holding?.value ?? null

  test('is told two weeks before its end and when it has ended, and is forgotten a week later', () => {
    expect([15, 13, 0.1, -0.1, -6, -8].map((days) => valueOf(days))).toEqual([
      null,
      'soon',
      'soon',
      'ended',
      'ended',
      null,
    ])
  })

  test('one that has a successor is good, also where both end soon', () => {
    expect([valueOf(5, { lastDays: 80 }), valueOf(-1, { lastDays: 3 })]).toEqual([null, null])
    expect(verdictOf(5, { lastDays: 80 }).good).toContain('ci has a new token')
  })

  test('one for a month is told at half of it, and one for days not at all', () => {
    expect([valueOf(13, { lifeDays: 20 }), valueOf(9, { lifeDays: 20 }), valueOf(0.3, { lifeDays: 1 })]).toEqual([
      null,
      'soon',
      null,
    ])
  })

  test('the way out names the command that makes a new one', () => {
    expect(verdictOf(3).holding?.text).toContain('token issue --tenant acme --role operator --subject "ci" --ttl 90d')
  })
})
