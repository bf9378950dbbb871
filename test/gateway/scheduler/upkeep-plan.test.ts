// Which upkeep is due when: each kind by its own rule, one long kind of a tenant at a time, and never in a hurry after failures.
import { describe, expect, test } from 'vitest'
import type { UpkeepNote } from '../../../gateway/catalog/upkeep.ts'
import { keyOf, planUpkeep, type TenantWorld, type UpkeepWorld } from '../../../gateway/scheduler/upkeep-plan.ts'
import type { RunKind } from '../../../protocol/runs.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const MIB = 2 ** 20
const NOW = 1000 * DAY + 20 * 60_000

/** A tenant of which nothing is due: everything was done an hour ago, its garbage was collected. */
const IDLE: TenantWorld = {
  tenant: 'acme-id',
  name: 'acme',
  createdMs: 0,
  points: 10,
  newestSeq: 10,
  removed: 0,
  packBytes: 1000 * MIB,
  keptBytes: 1000 * MIB,
  backups: 0,
  quotaBytes: null,
  backupDueMs: null,
  verifications: { due: 0, overdue: 0 },
  notes: [],
}

const note = (kind: RunKind, agoMs: number, memory: object = {}, rest: Partial<UpkeepNote> = {}): UpkeepNote => ({
  kind,
  triedMs: NOW - agoMs,
  doneMs: NOW - agoMs,
  failures: 0,
  note: JSON.stringify(memory),
  ...rest,
})

const COLLECTED = { packBytes: 1000 * MIB, keptBytes: 1000 * MIB, removed: 0, share: 1 }
const PRUNED = note('prune', HOUR / 2, { seq: 10 })
const NOTES = [PRUNED, note('collect', 2 * DAY, COLLECTED), note('state', DAY), note('verify', 2 * HOUR)]

const due = (tenant: Partial<TenantWorld>, world: Partial<UpkeepWorld> = {}, nowMs = NOW): RunKind[] =>
  planUpkeep(
    {
      tenants: [{ ...IDLE, notes: NOTES, ...tenant }],
      platform: [note('audit', 0)],
      open: new Set(),
      diskLow: false,
      quiet: true,
      ...world,
    },
    nowMs,
  ).map(({ kind }) => kind)

const notesWith = (...others: UpkeepNote[]): UpkeepNote[] => [
  ...NOTES.filter(({ kind }) => !others.some((other) => other.kind === kind)),
  ...others,
]

test('nothing is due of a tenant that was looked after', () => expect(due({})).toEqual([]))

test('a slot is the hour that has begun, of one tenant and kind', () => {
  const world = { tenants: [{ ...IDLE, notes: notesWith(note('prune', 2 * DAY)) }], open: new Set<string>() }
  expect(planUpkeep({ ...world, platform: [], diskLow: false, quiet: true }, NOW)).toEqual([
    { tenant: null, kind: 'audit', dueMs: 1000 * DAY },
    { tenant: 'acme-id', kind: 'prune', dueMs: 1000 * DAY },
  ])
})

describe('a prune', () => {
  test('comes behind a backup, once an hour at most, and daily', () => {
    expect(due({ newestSeq: 11 })).toEqual([])
    expect(due({ newestSeq: 11 }, {}, NOW + HOUR / 2)).toEqual(['prune'])
    expect(due({}, {}, NOW + HOUR / 2)).toEqual([])
    expect(due({}, {}, NOW + 23.5 * HOUR)).toEqual(['prune'])
    expect(due({ points: 0, newestSeq: 0 }, {}, NOW + 23.5 * HOUR)).toEqual([])
  })

  test('of a time that is still to come counts as none', () => {
    expect(due({ notes: notesWith(note('prune', -DAY, { seq: 10 })) })).toEqual(['prune'])
  })
})

describe('a collection', () => {
  /** With so much garbage. */
  const dead = (mib: number, rest: Partial<TenantWorld> = {}): Partial<TenantWorld> => ({
    packBytes: (1000 + mib) * MIB,
    ...rest,
  })

  test('pays from a tenth of the bytes on, or a gibibyte, as far as such estimates held', () => {
    expect(due(dead(90))).toEqual([])
    expect(due(dead(120))).toEqual(['collect'])
    const half = notesWith(note('collect', 2 * DAY, { ...COLLECTED, share: 0.5 }))
    expect(due(dead(120, { notes: half }))).toEqual([])
    const large = { packBytes: 101_025 * MIB, keptBytes: 100_000 * MIB }
    const noted = { packBytes: 100_000 * MIB, keptBytes: 100_000 * MIB, removed: 0, share: 1 }
    expect(due({ ...large, notes: notesWith(note('collect', 2 * DAY, noted)) })).toEqual(['collect'])
  })

  test('comes once a week where anything was removed, and not where nothing was', () => {
    const week = notesWith(note('collect', 7 * DAY, COLLECTED))
    expect(due({ removed: 1, notes: week })).toEqual(['collect'])
    expect(due({ notes: week })).toEqual([])
    expect(due({ removed: 1 })).toEqual([])
    expect(
      due({ removed: 1, notes: notesWith().filter(({ kind }) => kind !== 'collect'), createdMs: NOW - DAY }),
    ).toEqual([])
  })

  test('waits while backups run or are due soon, and outside quiet hours, unless it presses or the disk is low', () => {
    const busy = [{ backups: 1 }, { backupDueMs: NOW + 20 * 60_000 }, { backupDueMs: NOW - HOUR }]
    for (const rest of busy) {
      expect(due(dead(120, rest))).toEqual([])
      expect(due(dead(120, rest), { diskLow: true })).toEqual(['collect'])
      expect(due(dead(300, rest))).toEqual(['collect'])
      const old = notesWith(note('collect', 8 * DAY, COLLECTED))
      expect(due({ ...rest, removed: 1, notes: old })).toEqual(['collect'])
    }
    expect(due(dead(120, { backupDueMs: NOW + 40 * 60_000 }))).toEqual(['collect'])
    expect(due(dead(120), { quiet: false })).toEqual([])
  })

  test('pays earlier where the disk or a quota is nearly full, but not every hour', () => {
    expect(due(dead(20))).toEqual([])
    expect(due(dead(20), { diskLow: true })).toEqual(['collect'])
    expect(due(dead(20, { quotaBytes: 1100 * MIB }))).toEqual(['collect'])
    expect(due(dead(20, { quotaBytes: 2000 * MIB }))).toEqual([])
    const justNow = notesWith(note('collect', HOUR, COLLECTED))
    expect(due(dead(500, { notes: justNow }), { diskLow: true })).toEqual([])
  })
})

describe('a verification', () => {
  test('comes where machines are due, within quiet hours unless one is overdue', () => {
    expect(due({ verifications: { due: 2, overdue: 0 } })).toEqual(['verify'])
    expect(due({ verifications: { due: 2, overdue: 0 } }, { quiet: false })).toEqual([])
    expect(due({ verifications: { due: 2, overdue: 1 } }, { quiet: false })).toEqual(['verify'])
    expect(due({ verifications: { due: 2, overdue: 0 }, backups: 3 })).toEqual(['verify'])
  })

  test('takes turns with prune and collection', () => {
    const all = { verifications: { due: 1, overdue: 1 }, packBytes: 2000 * MIB, newestSeq: 11 }
    expect(due(all, {}, NOW + HOUR)).toEqual(['prune'])
    expect(due(all)).toEqual(['collect'])
    for (const kind of ['prune', 'collect', 'verify'] as const)
      expect(due(all, { open: new Set([keyOf('acme-id', kind)]) }, NOW + HOUR)).toEqual([])
  })
})

test('the state is looked at every week, the audit log every day', () => {
  expect(due({}, {}, NOW + 6 * DAY + HOUR).includes('state')).toBe(true)
  expect(due({ createdMs: NOW - DAY, notes: NOTES.filter(({ kind }) => kind !== 'state') })).toEqual([])
  expect(due({}, { platform: [note('audit', DAY)] })).toEqual(['audit'])
  expect(due({}, { platform: [note('audit', DAY)], open: new Set([keyOf(null, 'audit')]) })).toEqual([])
})

test('after failures a kind waits longer each time, up to a day', () => {
  const failed = (failures: number, agoMs: number): RunKind[] =>
    due({ newestSeq: 99, notes: notesWith(note('prune', agoMs, { seq: 10 }, { failures, doneMs: null })) })
  expect(failed(1, 0.9 * HOUR)).toEqual([])
  expect(failed(1, HOUR)).toEqual(['prune'])
  expect(failed(3, 3.9 * HOUR)).toEqual([])
  expect(failed(3, 4 * HOUR)).toEqual(['prune'])
  expect(failed(50, 23 * HOUR)).toEqual([])
  expect(failed(50, DAY)).toEqual(['prune'])
})
