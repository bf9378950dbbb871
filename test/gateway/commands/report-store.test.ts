// Reports for people: every figure is in them, what is not freed says when it will be, and long lists are cut with a count.
import { expect, test } from 'vitest'
import {
  checkLines,
  collectionLines,
  isBroken,
  isDamaged,
  usageLines,
  verifyLines,
} from '../../../gateway/commands/report-store.ts'
import type {
  CheckReport,
  CollectionReport,
  LostRange,
  UsageReport,
  VerifyReport,
} from '../../../protocol/maintenance.ts'

const MIB = 1024 * 1024
const ID = '0192aaaa-0000-4000-8000-0000c0ffee42'

const collection: CollectionReport = {
  dryRun: false,
  points: 3,
  nodes: 4,
  examined: { records: 1500, bytes: 100 * MIB },
  live: { records: 1000, bytes: 60 * MIB },
  dead: { records: 500, bytes: 40 * MIB },
  missing: 0,
  packs: { before: 9, removed: 2, rewritten: 3, after: 5 },
  bytesBefore: 110 * MIB,
  bytesRewritten: 20 * MIB,
  bytesAfter: 70 * MIB,
  waiting: { belowThresholdBytes: 0, inUseBytes: 0, damagedBytes: 0, noRoomBytes: 0 },
  durationMs: 1234,
}

test('a collection: what was examined, lives, is dead, was rewritten and freed', () => {
  expect(collectionLines('acme', collection)).toEqual([
    'acme: collected (1.2 s)',
    '                 RECORDS  BYTES',
    'examined         1,500    100 MiB',
    'live             1,000    60.0 MiB',
    'dead, taken out  500      40.0 MiB',
    'rewritten                 20.0 MiB',
    'freed                     40.0 MiB',
    'Packs: 9 before; 2 removed, 3 rewritten; 5 after. 110 MiB before, 70.0 MiB after.',
  ])
})

test('a dry run says what would be, and what is not freed says why and when it will be', () => {
  const waiting = {
    belowThresholdBytes: 5 * MIB,
    inUseBytes: 7 * MIB,
    damagedBytes: 9 * MIB,
    noRoomBytes: 11 * MIB,
  }
  const text = collectionLines('acme', {
    ...collection,
    dryRun: true,
    waiting,
    missing: 3,
    bytesAfter: 111 * MIB,
  }).join('\n')
  expect(text).toContain('what a collection would do')
  expect(text).toMatch(/would be freed +-1\.0 MiB/u)
  expect(text).toContain('2 would be removed, 3 would be rewritten')
  expect(text).toContain(
    '5.0 MiB in packs above the threshold: at the next gc once more of them is garbage, or now with a higher --threshold.',
  )
  expect(text).toContain('7.0 MiB in packs that uploads write: at the next gc once these uploads have ended.')
  expect(text).toContain(
    '11.0 MiB in packs whose live records cannot be copied for lack of space: at the next gc once there is more free space.',
  )
  expect(text).toContain('3 records that restore points need are known to be damaged')
})

const whole: VerifyReport = {
  points: 2,
  good: 2,
  nodes: 5,
  chunks: 6,
  bytes: 7 * MIB,
  durationMs: 500,
  damaged: [],
  damagedCount: 0,
  lost: [],
  lostCount: 0,
}
const lost: LostRange = { point: ID, machine: 'db1', timeMs: 0, disk: 'vda', offset: 65_536, length: 4096 }

test('a verification without damage is one line', () => {
  expect(verifyLines('acme', whole)).toEqual([
    'acme: 2 of 2 restore points are whole; 6 chunks and 5 nodes, 7.0 MiB read (0.5 s).',
  ])
  expect(isDamaged(whole)).toBe(false)
})

test('damage is named: record, point, disk and range; known damage counts though this run found none', () => {
  const found = { id: 'ab'.repeat(32), type: 'chunk', pack: ID, offset: 48, reason: 'checksum', foundMs: 0 } as const
  const gone = { ...found, type: 'node', pack: null, offset: null, reason: 'missing' } as const
  const report = { ...whole, good: 1, damaged: [found, gone], damagedCount: 2, lost: [lost], lostCount: 1 }
  const lines = verifyLines('acme', report)
  expect(lines).toContain(`chunk    abababababababab  ${ID}  48      checksum`)
  expect(lines).toContain(`node     abababababababab  -${' '.repeat(35)}  -       missing`)
  expect(lines).toContain(`db1      1970-01-01 00:00:00  ${ID}  vda   65536      4096`)
  expect(lines.at(-1)).toContain('heals')
  expect(isDamaged({ ...whole, lostCount: 1 })).toBe(true)
  expect(isDamaged({ ...whole, good: 1 })).toBe(true)
  expect(isDamaged({ ...whole, damagedCount: 1 })).toBe(true)
})

test('a long list is cut, and the count is of all that there is', () => {
  const lines = verifyLines('acme', { ...whole, lost: Array.from({ length: 200 }, () => lost), lostCount: 5000 })
  expect(lines.filter((line) => line.startsWith('db1'))).toHaveLength(100)
  expect(lines).toContain('... and 4,900 more')
})

test('usage: a line for each part, then packs, quota, ratios and growth', () => {
  const row = {
    points: 3,
    logicalBytes: 30 * MIB,
    usedBytes: 20 * MIB,
    uniqueBytes: 10 * MIB,
    sharedBytes: 10 * MIB,
    storedBytes: 5 * MIB,
  }
  const report: UsageReport = {
    rows: [
      { ...row, scope: 'tenant', machine: '', disk: null, point: null, timeMs: null },
      { ...row, scope: 'disk', machine: 'db1', disk: 'vda', point: ID, timeMs: 0 },
    ],
    rowCount: 2,
    packBytes: 8 * MIB,
    deadBytes: MIB,
    parts: {
      machineBytes: 3 * MIB,
      sharedBytes: 2 * MIB,
      deadBytes: MIB,
      uploadBytes: 0,
      otherBytes: 2 * MIB,
      missingBytes: 0,
    },
    quota: { softBytes: null, hardBytes: 1024 * MIB },
    dedupRatio: 2,
    compressionRatio: 1.999,
    growth: { dayBytes: 1, weekBytes: 2048, monthBytes: 3 * MIB },
  }
  const lines = usageLines('acme', report)
  expect(lines.map((line) => line.split(/ {2,}/u))).toMatchObject([
    ['TENANT', 'MACHINE', 'DISK', 'POINT', 'TIME (UTC)', 'POINTS', 'LOGICAL', 'USED', 'UNIQUE', 'SHARED', 'STORED'],
    ['acme', '-', '-', '-', '-', '3', '30.0 MiB', '20.0 MiB', '10.0 MiB', '10.0 MiB', '5.0 MiB'],
    ['acme', 'db1', 'vda', ID, '1970-01-01 00:00:00', '3', '30.0 MiB', '20.0 MiB', '10.0 MiB', '10.0 MiB', '5.0 MiB'],
    ['Packs: 8.0 MiB, 1.0 MiB of it dead; soft quota none, hard quota 1.0 GiB.'],
    ['Deduplication 2.00, compression 2.00; stored in the last day 1 B, 7 days 2.0 KiB, 30 days 3.0 MiB.'],
  ])
  const cut = usageLines('acme', { ...report, rowCount: 1502 })
  expect(cut).toContain('... and 1,500 more, the oldest points first; ask for one machine')
})

test('a check: garbage and what is not collected yet is no trouble, what is missing is', () => {
  const good: CheckReport = {
    packs: 2,
    records: 30,
    bytes: MIB,
    unindexed: { records: 4, bytes: 4096 },
    dangling: 0,
    unknownPacks: 0,
    missingPacks: 0,
    unknownPoints: 1,
    problems: [],
    problemCount: 0,
  }
  expect(isBroken(good)).toBe(false)
  expect(checkLines('acme', good)[0]).toBe('acme: 2 packs with 30 records, 1.0 MiB')
  expect(checkLines('acme', good).at(-1)).toBe('Packs, index and catalog agree.')
  for (const bad of [{ dangling: 1 }, { missingPacks: 1 }, { problems: ['pack x: why'], problemCount: 1 }]) {
    expect(isBroken({ ...good, ...bad })).toBe(true)
    expect(checkLines('acme', { ...good, ...bad }).at(-1)).toContain('repair --rebuild')
  }
  expect(checkLines('acme', { ...good, problems: ['pack x: why'], problemCount: 1 })).toContain('pack x: why')
})
