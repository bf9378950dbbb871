// Drills for people.
import { expect, test } from 'vitest'
import type { Drill } from '../../../protocol/drills.ts'
import { drillLines, drillText } from '../../../protocol/host/drill-report.ts'
import { drillOutcome, FAILED } from '../../support/drill.ts'

const ID = '0192aaaa-0000-4000-8000-0000c0ffee42'

const DRILL: Drill = {
  ...drillOutcome({ memoryBytes: 1024 ** 3, cpus: 2, firmwareMs: 1500, evidenceMs: 21_250 }),
  id: ID,
  point: ID,
  machine: 'db1',
  timeMs: 0,
  by: 'ann',
  addedMs: 1000,
  pictureBytes: null,
  logChars: 0,
}

test('a word for tables', () => {
  expect(drillText(null)).toBe('-')
  expect(drillText({ id: ID, verdict: 'failed', addedMs: 0 })).toBe('failed 1970-01-01 00:00:00')
})

test('all of one, a line each', () => {
  expect(drillLines(DRILL)).toEqual([
    'db1 at 1970-01-01T00:00:00.000Z boots: its guest agent answered.',
    '  on h1 at 1970-01-01 00:00:00 UTC, by ann; check guest-agent',
    '  firmware after 1.5 s, evidence after 21.3 s, all of it 0.0 s',
    '  tcg, 1.0 GiB of memory, 2 processors; 7 B received, 8 B written',
    '  its TPM was left out',
  ])
  const failed = drillLines({ ...DRILL, ...drillOutcome(FAILED) })
  expect(failed[0]).toContain('did not prove that it boots: it said nothing')
  expect(failed[2]).toContain('evidence after -')
})
