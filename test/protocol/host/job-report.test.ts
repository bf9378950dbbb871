// A backup for people: each stage of it, why it failed, and what its restore point holds.
import { expect, test } from 'vitest'
import { doneBytes, jobFailure, jobText, pointReport } from '../../../protocol/host/job-report.ts'
import { Meter } from '../../../protocol/host/meter.ts'
import type { Job } from '../../../protocol/methods.ts'
import type { Point } from '../../../protocol/schemas.ts'

const ID = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214'

const job: Job = {
  id: ID,
  machine: 'db1',
  agent: ID,
  online: true,
  state: 'running',
  phase: 'reading',
  limit: null,
  resumes: 0,
  resumedMs: null,
  subject: 'anna',
  startedMs: 0,
  endedMs: null,
  released: false,
  bytesSent: 2048,
  comparedBytes: 0,
  disks: [],
  error: null,
}

const disk = (done: number): Job['disks'][number] => ({
  name: 'vda',
  size: 4096,
  kind: 'full',
  reason: 'first',
  doneBytes: done,
})

test('each stage of a backup has its words', () => {
  const text = (more: Partial<Job>): string => jobText({ ...job, ...more }, new Meter())
  expect(text({})).toBe('preparing the machine…')
  expect(text({ comparedBytes: 4096 })).toBe('comparing what did not change…  4.0 KiB')
  expect(text({ disks: [disk(1024)] })).toContain('1.0 KiB of 4.0 KiB (25 %), 2.0 KiB sent  vda (full: first)')
  expect(text({ disks: [disk(4096)] })).toContain('committing')
  expect(text({ state: 'committed' })).toBe('releasing the machine…')
  expect(doneBytes({ ...job, disks: [disk(1), disk(2)] })).toBe(3)
})

test('a backup that failed says why, also where nobody said so', () => {
  const error = { code: 'FULL_REFUSED', message: 'the policy refuses it' }
  expect(jobFailure({ ...job, error })).toMatchObject(error)
  expect(jobFailure(job).message).toContain('gives no reason for the failure')
})

test('a restore point with its disks, what was left out and what it took', () => {
  const made = { ...disk(0), changedBytes: 2048, comparedChunks: 3, root: null }
  const point = {
    id: ID,
    machine: 'db1',
    timeMs: 0,
    future: false,
    kind: 'full',
    reason: 'first',
    consistency: 'frozen',
    note: 'slow',
    base: null,
    bytesRead: 4096,
    bytesSent: 2048,
    bytesStored: 1024,
    durationMs: 1500,
    took: { frozenMs: 42, scratch: { usedBytes: 2048, limitBytes: 8192 }, steps: [] },
    held: false,
    lockedUntilMs: null,
    usedUntilMs: null,
    verifiedMs: null,
    lostBytes: 0,
    disks: [made],
    leftOut: [{ name: 'cd0', reason: 'read-only' }],
    attachments: [
      { name: 'nvram', size: 2048, root: null },
      { name: 'command-line', size: 1024, root: null },
    ],
    missingAttachments: 9,
  } as unknown as Point
  const missing = Array.from({ length: 9 }, (_, index) => ({ name: `f${index}`, reason: 'there is no such file' }))
  expect(pointReport(point, missing)).toEqual([
    'Restore point 3f2a91c0 of db1: full (first), guest frozen at its instant',
    '  note: slow',
    '  vda: 4.0 KiB, 2.0 KiB changed, full (first); 3 unchanged chunks compared',
    '  cd0: left out (read-only)',
    '  2 attachments: 3.0 KiB',
    ...Array.from({ length: 8 }, (_, index) => `  f${index}: not attached (there is no such file)`),
    '  and 1 more that could not be attached',
    '  read 4.0 KiB, sent 2.0 KiB, stored 1.0 KiB in 1.5 s',
    '  guest frozen for 42 ms, scratch 2.0 KiB of 8.0 KiB',
  ])
  const bare = { ...point, attachments: [], missingAttachments: 0 } as Point
  expect(pointReport(bare, []).join()).not.toContain('attach')
  const last = (took: Point['took']) => pointReport({ ...point, took }, []).at(-1)
  expect(last({ frozenMs: 0, scratch: { usedBytes: 0, limitBytes: null }, steps: [] })).toBe(
    '  guest not frozen, scratch 0 B',
  )
  const untold = '  read 4.0 KiB, sent 2.0 KiB, stored 1.0 KiB in 1.5 s'
  expect([last(null), last({ frozenMs: null, scratch: null, steps: [] })]).toEqual([untold, untold])
})
