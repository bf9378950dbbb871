// How coverage reads: worst first, ages and what is due at a glance, a tenant in one sentence.
import { expect, test } from 'vitest'
import { coverageLines, summaryLine, tenantCells } from '../../../gateway/commands/report-coverage.ts'
import type { Covered, StateCounts } from '../../../protocol/coverage.ts'

const HOUR_MS = 3_600_000
const NOW_MS = Date.UTC(2026, 10, 29, 12)

const machine = (name: string, rest: Partial<Covered>): Covered => ({
  machine: name,
  group: null,
  agent: '0192aaaa-0000-4000-8000-0000c0ffee42',
  host: 'hv1',
  online: true,
  plan: 'nightly',
  state: 'fresh',
  reason: 'as it should be',
  sinceMs: null,
  deadlineMs: NOW_MS + 14 * HOUR_MS,
  lastPointMs: NOW_MS - 11 * HOUR_MS,
  targetMs: 25 * HOUR_MS,
  last: null,
  lastVerifiedMs: null,
  lastError: null,
  nextMs: NOW_MS + 13 * HOUR_MS,
  exclusion: null,
  ...rest,
})

test('the worst are first, with age and what is due', () => {
  const lines = coverageLines(
    [
      machine('db1', {}),
      machine('db2', { state: 'late', deadlineMs: NOW_MS - 8 * HOUR_MS, reason: 'late by 8 h' }),
      machine('db3', {
        state: 'uncovered',
        plan: null,
        deadlineMs: null,
        lastPointMs: null,
        nextMs: null,
        reason: 'no plan',
      }),
      machine('db4', { state: 'failing', reason: 'backups fail' }),
    ],
    NOW_MS,
  )
  expect(lines).toEqual([
    'STATE      MACHINE  PLAN     AGE   DUE      NEXT (UTC)           WHY',
    'failing    db4      nightly  11 h  in 14 h  2026-11-30 01:00:00  backups fail',
    'late       db2      nightly  11 h  8 h ago  2026-11-30 01:00:00  late by 8 h',
    'uncovered  db3      -        -     -        -                    no plan',
    'fresh      db1      nightly  11 h  in 14 h  2026-11-30 01:00:00  as it should be',
  ])
})

const NONE: StateCounts = {
  fresh: 0,
  unverified: 0,
  late: 0,
  failing: 0,
  never: 0,
  uncovered: 0,
  orphaned: 0,
  archived: 0,
  excluded: 0,
}
const FAR = { daysLeft: null, bytesPerDay: 1, reason: 'far' } as const
const QUOTA = { usedBytes: 1, softBytes: null, hardBytes: 2, soft: FAR, hard: FAR }
const PROOF = { verifiedMs: NOW_MS - 3 * HOUR_MS, oldestMs: null, unverified: 0, drilledMs: null }

test('a tenant is one sentence', () => {
  const line = (counts: Partial<StateCounts>, rest: object = {}) =>
    summaryLine('acme', { counts: { ...NONE, ...counts }, oldest: null, quota: QUOTA, proof: PROOF, ...rest }, NOW_MS)
  expect(line({})).toBe('acme has no machine yet.')
  expect(line({ fresh: 1 })).toBe('acme: 1 machine: 1 fresh; all that should be are protected; verified last 3 h ago.')
  const quota = { ...QUOTA, hard: { daysLeft: 1, bytesPerDay: 9, reason: null } }
  const proof = { ...PROOF, verifiedMs: null }
  expect(line({ fresh: 9, late: 1, excluded: 2 }, { quota, proof })).toBe(
    'acme: 12 machines: 9 fresh, 1 late, 2 excluded; 1 is not protected; never verified; its quota is used up in 1 day.',
  )
  expect(line({ orphaned: 2, failing: 3, uncovered: 1 })).toContain('6 are not protected')
  expect(tenantCells({ tenant: 'acme', counts: { ...NONE, fresh: 2, never: 1 }, quota: QUOTA })).toEqual([
    'acme',
    '3',
    '1',
    '2 fresh, 1 never',
  ])
})
