// Details of audit entries: one entry has room for the longest ones, and a failed call says no result.
import { expect, test } from 'vitest'
import { AUDIT_DETAILS_CHARS_MAX } from '../../../gateway/catalog/sqlite/audit.ts'
import { auditDetails } from '../../../gateway/session/audit-details.ts'
import { PAGE_ROWS_MAX } from '../../../protocol/limits.ts'
import { DAYS_MAX, KEEP_MAX, type Retention } from '../../../protocol/retention.ts'

const NAME = 'n'.repeat(63)

/** As long as rules can be. */
const RULES: Retention = {
  keepLast: KEEP_MAX,
  keepHourly: KEEP_MAX,
  keepDaily: KEEP_MAX,
  keepWeekly: KEEP_MAX,
  keepMonthly: KEEP_MAX,
  keepYearly: KEEP_MAX,
  keepWithinDays: DAYS_MAX / 7,
  timeZone: 'z'.repeat(64),
  lockDays: DAYS_MAX / 7,
}

test('the longest ones have room in an entry', () => {
  const points = Array.from({ length: PAGE_ROWS_MAX }, () => 'f'.repeat(36))
  const prune = { machine: NAME, group: NAME, rules: RULES, points, dryRun: false }
  const result = { points: [], pointCount: 0, removed: Number.MAX_SAFE_INTEGER }
  for (const details of [
    auditDetails('points.prune', prune, result),
    auditDetails('retention.set', { scope: 'machine', name: NAME, rules: RULES, newGroup: false }, {}),
  ]) {
    expect(details['rules']).toBe(JSON.stringify(RULES))
    expect(JSON.stringify(details).length).toBeLessThan(AUDIT_DETAILS_CHARS_MAX / 2)
  }
})

test('a failed prune says what was asked and no count; other methods add nothing', () => {
  const prune = { machine: null, group: null, rules: null, points: ['abcd'], dryRun: false }
  expect(auditDetails('points.prune', prune, null)).toEqual({ dryRun: false, named: 1 })
  expect(auditDetails('machines.qmp', { machine: 'db1', command: 'x', arguments: '{"secret":1}' }, null)).toEqual({})
})
