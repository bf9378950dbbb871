// What upkeep did, as people read it.
import { expect, test } from 'vitest'
import {
  collectSummary,
  pruneSummary,
  verifiedSummary,
  verifySummary,
} from '../../../gateway/scheduler/upkeep-words.ts'
import type { CollectionReport, VerifyReport } from '../../../protocol/maintenance.ts'

const MIB = 2 ** 20

test('one and many, sizes, what is left', () => {
  expect(pruneSummary(1)).toBe('removed 1 restore point')
  expect(pruneSummary(1200)).toBe('removed 1,200 restore points')
  const done = { machines: 1, left: 0, points: 2, bytes: 5 * MIB, damaged: 0 }
  expect(verifiedSummary(done)).toBe('verified 2 restore points of 1 machine, 5.0 MiB read: nothing damaged')
  expect(verifiedSummary({ ...done, left: 1, damaged: 1 })).toBe(
    'verified 2 restore points of 1 machine, 5.0 MiB read: 1 damaged record found; 1 more machine is due',
  )
  expect(verifiedSummary({ ...done, left: 3 })).toContain('; 3 more machines are due')
  const verified = { points: 2, bytes: MIB, damagedCount: 2 } as VerifyReport
  expect(verifySummary(verified)).toBe('verified 2 restore points, 1.0 MiB read: 2 damaged records found')
  const report = {
    bytesBefore: 9 * MIB,
    bytesAfter: 4 * MIB,
    dead: { records: 5, bytes: 4 * MIB },
    packs: { before: 3, removed: 1, rewritten: 2, after: 2 },
  } as CollectionReport
  expect(collectSummary(report)).toBe('freed 5.0 MiB: 4.0 MiB were not needed any more; 1 pack removed, 2 rewritten')
})
