// Rows as they look on the wire: what is shown, and what is not.
import type { JobRow, UploadRow } from '../../../gateway/catalog/jobs.ts'
import { expect, test } from 'vitest'
import { jobView, pointView, type JobLook } from '../../../gateway/jobs/views.ts'
import { METHODS } from '../../../protocol/methods.ts'
import * as v from 'valibot'

const ID = '00000000-0000-4000-8000-000000000000'
const disk = { kind: 'full', reason: 'first' } as const

const job: JobRow = {
  id: ID,
  machine: 'db1',
  agent: ID,
  subject: 'anna',
  state: 'failed',
  full: false,
  seq: 1,
  compare: false,
  released: true,
  base: null,
  startedMs: 1,
  endedMs: 2,
  error: { code: 'QMP_ERROR', message: 'why' },
  begun: null,
}
const upload: UploadRow = {
  ...disk,
  disk: 'vda',
  attachment: false,
  size: 10_000,
  hasBase: false,
  baseRoot: null,
  position: 2,
  state: new Uint8Array(1),
  finished: false,
  root: null,
  bytesSent: 30,
  bytesStored: 20,
  changedBytes: 5,
  evidence: 'raw /d.raw',
  comparedChunks: 6,
}

const COURSE = { accepted: true, step: null, limit: 'link', resumes: 2, resumedMs: 5 } as const
const LOOK: JobLook = { comparedBytes: 0, online: true, course: COURSE }

test('a job shows how far each disk is, in bytes that never pass its size; attachments are no disks', () => {
  const uploads = [
    upload,
    { ...upload, disk: 'vdb', position: 3, bytesSent: 3 },
    { ...upload, disk: 'nvram', attachment: true, bytesSent: 1 },
  ]
  const view = jobView(job, uploads, 4096, { ...LOOK, comparedBytes: 77 })
  expect(view).toEqual({
    id: ID,
    machine: 'db1',
    agent: ID,
    online: true,
    state: 'failed',
    phase: null,
    limit: null,
    resumes: 2,
    resumedMs: 5,
    subject: 'anna',
    startedMs: 1,
    endedMs: 2,
    released: true,
    bytesSent: 34,
    comparedBytes: 77,
    error: { code: 'QMP_ERROR', message: 'why' },
    disks: [
      { ...disk, name: 'vda', size: 10_000, doneBytes: 8192 },
      { ...disk, name: 'vdb', size: 10_000, doneBytes: 10_000 },
    ],
  })
  expect(v.safeParse(METHODS['jobs.watch'].result, view).success).toBe(true)
})

test('the phase of a job follows from its row and what its agent said, its limit only while that is connected', () => {
  const running = { ...job, state: 'running', endedMs: null, error: null } as const
  const view = (uploads: UploadRow[], look: Partial<JobLook>): string =>
    Object.values(pick(jobView(running, uploads, 4096, { ...LOOK, ...look }))).join(' ')
  const pick = ({ phase, limit }: ReturnType<typeof jobView>) => ({ phase, limit: limit ?? 'nothing' })
  const course = { ...COURSE, limit: null }
  expect(view([], { course: { ...course, accepted: false } })).toBe('asked nothing')
  expect(view([], { course })).toBe('preparing nothing')
  expect(view([], { course: { ...course, step: 'lease' } })).toBe('preparing nothing')
  expect(view([], { course: { ...course, step: 'compare' } })).toBe('comparing nothing')
  // an older agent does not say what it does, but it compares
  expect(view([], { course, comparedBytes: 1 })).toBe('comparing nothing')
  expect(view([upload], { course: { ...COURSE, step: 'compare' } })).toBe('reading link')
  expect(view([upload], { online: false })).toBe('reading nothing')
  expect(view([{ ...upload, position: 3 }], { course })).toBe('finishing nothing')
  expect(
    view(
      [
        { ...upload, position: 3 },
        { ...upload, attachment: true },
      ],
      { course },
    ),
  ).toBe('reading nothing')
})

test('a point shows neither its agent nor its configuration', () => {
  const rest = {
    consistency: 'crash',
    note: null,
    base: null,
    bytesRead: 1,
    bytesSent: 2,
    bytesStored: 3,
    durationMs: 4,
    lockedUntilMs: null,
    usedUntilMs: null,
    verifiedMs: 5,
    lostBytes: 0,
    leftOut: [{ name: 'cd', reason: 'read-only' }],
    missingAttachments: 1,
    drill: null,
  } as const
  const disks = [{ ...disk, name: 'vda', size: 5, root: null, changedBytes: 6, comparedChunks: 8 }]
  const attachments = [{ name: 'nvram', size: 0, root: null }]
  const took = { frozenMs: 6, scratch: null, steps: [] }
  const point = { id: ID, machine: 'db1', timeMs: 7, ...disk, ...rest, took, disks, attachments }
  const stored = {
    ...point,
    held: true,
    agent: ID,
    configuration: '{"secret":1}',
    missing: [{ name: 'a', reason: 'b' }],
  }
  const view = pointView(stored, 7)
  expect(view).toEqual({ ...point, held: true, future: false })
  expect(pointView(stored, 6)).toEqual({ ...view, future: true })
  expect(v.safeParse(METHODS['points.list'].result, { points: [view], next: null }).success).toBe(true)
})
